//! 256-bit integers as four little-endian limbs, without branches on values.

/// Four 64-bit limbs, lowest first.
pub(super) type Limbs = [u64; 4];

/// `a + b + carry` and the carry out; both carries are 0 or 1.
#[inline(always)]
pub(super) const fn adc(a: u64, b: u64, carry: u64) -> (u64, u64) {
    let (sum, over1) = a.overflowing_add(b);
    let (sum, over2) = sum.overflowing_add(carry);
    (sum, (over1 | over2) as u64)
}

/// `a - b - borrow` and the borrow out; both borrows are 0 or 1.
#[inline(always)]
pub(super) const fn sbb(a: u64, b: u64, borrow: u64) -> (u64, u64) {
    let (difference, under1) = a.overflowing_sub(b);
    let (difference, under2) = difference.overflowing_sub(borrow);
    (difference, (under1 | under2) as u64)
}

/// `acc + a * b + carry`, and the high half; never overflows.
#[inline(always)]
pub(super) const fn mac(acc: u64, a: u64, b: u64, carry: u64) -> (u64, u64) {
    let sum = acc as u128 + (a as u128) * (b as u128) + carry as u128;
    (sum as u64, (sum >> 64) as u64)
}

/// `a + b` and the carry.
#[inline(always)]
pub(super) const fn add(a: &Limbs, b: &Limbs) -> (Limbs, u64) {
    let (r0, c) = adc(a[0], b[0], 0);
    let (r1, c) = adc(a[1], b[1], c);
    let (r2, c) = adc(a[2], b[2], c);
    let (r3, c) = adc(a[3], b[3], c);
    ([r0, r1, r2, r3], c)
}

/// `a - b` and the borrow.
#[inline(always)]
pub(super) const fn sub(a: &Limbs, b: &Limbs) -> (Limbs, u64) {
    let (r0, c) = sbb(a[0], b[0], 0);
    let (r1, c) = sbb(a[1], b[1], c);
    let (r2, c) = sbb(a[2], b[2], c);
    let (r3, c) = sbb(a[3], b[3], c);
    ([r0, r1, r2, r3], c)
}

/// `a` under an all-ones mask, `b` under zero.
#[inline(always)]
pub(super) const fn choose(mask: u64, a: &Limbs, b: &Limbs) -> Limbs {
    [
        b[0] ^ (mask & (a[0] ^ b[0])),
        b[1] ^ (mask & (a[1] ^ b[1])),
        b[2] ^ (mask & (a[2] ^ b[2])),
        b[3] ^ (mask & (a[3] ^ b[3])),
    ]
}

/// `carry · 2^256 + a`, below `2m`, reduced below `m`. For a constant `m` above `2^255`.
#[inline(always)]
pub(super) const fn reduce_once(a: &Limbs, carry: u64, m: &Limbs) -> Limbs {
    // Adding 2^256 - m carries exactly when a reaches m; then the sum is a - m.
    let (reduced, reaches) = add(a, &sub(&[0; 4], m).0);
    choose((reaches | carry).wrapping_neg(), &reduced, a)
}

/// `a + b mod m` for reduced operands.
#[inline(always)]
pub(super) const fn add_mod(a: &Limbs, b: &Limbs, m: &Limbs) -> Limbs {
    let (sum, carry) = add(a, b);
    reduce_once(&sum, carry, m)
}

/// `a - b mod m` for reduced operands.
#[inline(always)]
pub(super) const fn sub_mod(a: &Limbs, b: &Limbs, m: &Limbs) -> Limbs {
    let (difference, borrow) = sub(a, b);
    let mask = borrow.wrapping_neg();
    add(&difference, &[m[0] & mask, m[1] & mask, m[2] & mask, m[3] & mask]).0
}

/// `2^bits mod m`.
pub(super) const fn power_of_two_mod(bits: usize, m: &Limbs) -> Limbs {
    let mut x = [1, 0, 0, 0];
    let mut i = 0;
    while i < bits {
        x = add_mod(&x, &x, m);
        i += 1;
    }
    x
}

/// The 512-bit product.
#[inline(always)]
pub(super) const fn multiply(a: &Limbs, b: &Limbs) -> [u64; 8] {
    let (t0, c) = mac(0, a[0], b[0], 0);
    let (t1, c) = mac(0, a[0], b[1], c);
    let (t2, c) = mac(0, a[0], b[2], c);
    let (t3, t4) = mac(0, a[0], b[3], c);
    let (t1, c) = mac(t1, a[1], b[0], 0);
    let (t2, c) = mac(t2, a[1], b[1], c);
    let (t3, c) = mac(t3, a[1], b[2], c);
    let (t4, t5) = mac(t4, a[1], b[3], c);
    let (t2, c) = mac(t2, a[2], b[0], 0);
    let (t3, c) = mac(t3, a[2], b[1], c);
    let (t4, c) = mac(t4, a[2], b[2], c);
    let (t5, t6) = mac(t5, a[2], b[3], c);
    let (t3, c) = mac(t3, a[3], b[0], 0);
    let (t4, c) = mac(t4, a[3], b[1], c);
    let (t5, c) = mac(t5, a[3], b[2], c);
    let (t6, t7) = mac(t6, a[3], b[3], c);
    [t0, t1, t2, t3, t4, t5, t6, t7]
}

/// The 512-bit square: the six cross products once, doubled.
#[inline(always)]
pub(super) const fn square(a: &Limbs) -> [u64; 8] {
    let (t1, c) = mac(0, a[0], a[1], 0);
    let (t2, c) = mac(0, a[0], a[2], c);
    let (t3, t4) = mac(0, a[0], a[3], c);
    let (t3, c) = mac(t3, a[1], a[2], 0);
    let (t4, t5) = mac(t4, a[1], a[3], c);
    let (t5, t6) = mac(t5, a[2], a[3], 0);
    let t7 = t6 >> 63;
    let t6 = t6 << 1 | t5 >> 63;
    let t5 = t5 << 1 | t4 >> 63;
    let t4 = t4 << 1 | t3 >> 63;
    let t3 = t3 << 1 | t2 >> 63;
    let t2 = t2 << 1 | t1 >> 63;
    let t1 = t1 << 1;
    let (t0, c) = mac(0, a[0], a[0], 0);
    let (t1, c) = adc(t1, c, 0);
    let (t2, c) = mac(t2, a[1], a[1], c);
    let (t3, c) = adc(t3, c, 0);
    let (t4, c) = mac(t4, a[2], a[2], c);
    let (t5, c) = adc(t5, c, 0);
    let (t6, c) = mac(t6, a[3], a[3], c);
    let (t7, _) = adc(t7, c, 0);
    [t0, t1, t2, t3, t4, t5, t6, t7]
}

/// The `bits` bits from bit `at` upwards, fewer than 64; zeros lie above the integer. Time depends on the place alone.
#[inline(always)]
pub(super) fn window(value: &Limbs, at: usize, bits: usize) -> u64 {
    let (limb, shift) = (at / 64, at % 64);
    let low = value.get(limb).map_or(0, |x| x >> shift);
    let high = value.get(limb + 1).map_or(0, |x| x << 1 << (63 - shift));
    (low | high) & ((1 << bits) - 1)
}

/// All ones when every limb is zero.
#[inline(always)]
pub(super) fn mask_is_zero(a: &Limbs) -> u64 {
    crate::ct::mask_is_zero(a[0] | a[1] | a[2] | a[3])
}

pub(super) const fn from_be_bytes(bytes: &[u8; 32]) -> Limbs {
    let mut limbs = [0; 4];
    let mut i = 0;
    while i < 32 {
        limbs[3 - i / 8] = limbs[3 - i / 8] << 8 | bytes[i] as u64;
        i += 1;
    }
    limbs
}

pub(super) fn to_be_bytes(limbs: &Limbs) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (out, limb) in bytes.chunks_exact_mut(8).zip(limbs.iter().rev()) {
        out.copy_from_slice(&limb.to_be_bytes());
    }
    bytes
}

//! The field by MULX, ADCX and ADOX (BMI2 and ADX), in assembly: the compiler does not keep two carry chains apart.
//!
//! All values are below `p` on entry and on return, limbs and result the same as [`Portable`](crate::cpu::Portable)'s. There is no
//! branch, and no address but those of the operands. A product reads its second operand from memory, everything else works on
//! registers alone.
//!
//! A product is four rows of four MULX, low halves on the carry chain of ADCX, high halves on that of ADOX. All thirteen
//! registers that inline assembly may use are taken; those of operands serve as limbs and scratch once they are read.

use super::super::limbs::Limbs;
use super::{Arithmetic, P};
use crate::cpu::Bmi2Adx;
use core::arch::asm;

/// `(t + q·p) / 2^128` in place for `t = t3 ‖ t2 ‖ t1 ‖ t0`, two steps of the portable reduction; the new upper limbs are in `t0` and
/// `t1`. With `q0 = t0`, `q1 = t1 + q0 - q0·2^32` and `q·2^32 = m2 ‖ m1 ‖ m0`, the quotient gains `q + q·2^192` less `m` and
/// `m·2^128` from limb 1 on; `m2 + m0`, at limb 3, has no carry. Clobbers `lo`, `hi`, `x`, `y` and `rdx`.
#[rustfmt::skip]
macro_rules! reduce_two_steps {
    ($t0:literal, $t1:literal, $t2:literal, $t3:literal, $x:literal, $y:literal) => {
        concat!(
            // m0, the upper half of q0, q0 - m0, and q1.
            "mov {lo}, {", $t0, "}\n", "shl {lo}, 32\n", "mov rdx, {", $t0, "}\n", "shr rdx, 32\n",
            "mov {hi}, {", $t0, "}\n", "sub {hi}, {lo}\n", "add {", $t1, "}, {hi}\n", "mov {", $x, "}, {", $t1, "}\n",
            // m1 and m2.
            "mov {", $y, "}, {", $t1, "}\n", "shl {", $y, "}, 32\n", "add {", $y, "}, rdx\n",
            "mov rdx, {", $t1, "}\n", "shr rdx, 32\n",
            // The borrow of q0 - m0 again, and what lies above is subtracted with it.
            "cmp {", $t0, "}, {lo}\n", "lea {lo}, [{lo} + rdx]\n",
            "sbb {", $t2, "}, {", $y, "}\n", "sbb {", $t3, "}, {lo}\n",
            "sbb {", $t0, "}, {", $y, "}\n", "sbb {", $t1, "}, rdx\n",
            // The carry of t1 + (q0 - m0) again, and what lies above is added with it.
            "cmp {", $x, "}, {hi}\n", "adc {", $t2, "}, {", $x, "}\n", "adc {", $t3, "}, 0\n",
            "adc {", $t0, "}, 0\n", "adc {", $t1, "}, 0",
        )
    };
}

/// One row of a product: `t0..t3 += rdx · b`, the top of it into `t4`, which starts at zero. The value of five limbs stays
/// below `2^320`, so the last carry is zero. Clobbers `lo` and `hi`; XOR clears both carries.
#[rustfmt::skip]
macro_rules! row {
    ($t0:literal, $t1:literal, $t2:literal, $t3:literal, $t4:literal) => {
        concat!(
            "xor {", $t4, ":e}, {", $t4, ":e}\n",
            "mulx {hi}, {lo}, [{b}]\n", "adcx {", $t0, "}, {lo}\n", "adox {", $t1, "}, {hi}\n",
            "mulx {hi}, {lo}, [{b} + 8]\n", "adcx {", $t1, "}, {lo}\n", "adox {", $t2, "}, {hi}\n",
            "mulx {hi}, {lo}, [{b} + 16]\n", "adcx {", $t2, "}, {lo}\n", "adox {", $t3, "}, {hi}\n",
            "mulx {hi}, {lo}, [{b} + 24]\n", "adcx {", $t3, "}, {lo}\n", "adox {", $t4, "}, {hi}\n",
            "adc {", $t4, "}, 0",
        )
    };
}

/// The product `t0..t7`, below `p²`, divided by `2^256` modulo `p`, into `t4..t7`: four steps leave at most `p` in `t0..t3`, the sum
/// is below `2p`, and `p` is subtracted where that does not borrow. Clobbers `lo`, `hi`, `x`, `y` and `rdx`.
#[rustfmt::skip]
macro_rules! reduce {
    ($t0:literal, $x:literal, $y:literal) => {
        concat!(
            reduce_two_steps!($t0, "t1", "t2", "t3", $x, $y), "\n",
            reduce_two_steps!("t2", "t3", $t0, "t1", $x, $y), "\n",
            "mov {lo:e}, 0\n", "mov rdx, {p1}\n", "mov {hi}, {p3}\n",
            "add {t4}, {", $t0, "}\n", "adc {t5}, {t1}\n", "adc {t6}, {t2}\n", "adc {t7}, {t3}\n", "adc {lo}, 0\n",
            "mov {", $t0, "}, {t4}\n", "mov {t1}, {t5}\n", "mov {t2}, {t6}\n", "mov {t3}, {t7}\n",
            "sub {", $t0, "}, -1\n", "sbb {t1}, rdx\n", "sbb {t2}, -1\n", "sbb {t3}, {hi}\n", "sbb {lo}, 0\n",
            "cmovnc {t4}, {", $t0, "}\n", "cmovnc {t5}, {t1}\n", "cmovnc {t6}, {t2}\n", "cmovnc {t7}, {t3}",
        )
    };
}

#[allow(unsafe_code)]
impl Arithmetic for Bmi2Adx {
    const NAME: &'static str = "bmi2+adx";

    #[inline(always)]
    fn multiply(self, a: &Limbs, b: &Limbs) -> Limbs {
        let (r0, r1, r2, r3);
        // SAFETY: the token proves MULX, ADCX and ADOX. `b` is 32 readable bytes, nothing is written to memory and the stack is
        // not used; every register that changes is an output.
        unsafe {
            asm!(
                "mulx {t1}, {t0}, [{b}]",
                "mulx {t2}, {lo}, [{b} + 8]", "add {t1}, {lo}",
                "mulx {t3}, {lo}, [{b} + 16]", "adc {t2}, {lo}",
                "mulx {t4}, {lo}, [{b} + 24]", "adc {t3}, {lo}", "adc {t4}, 0",
                // The registers of a1 to a3 become t5 to t7.
                "mov rdx, {t5}",
                row!("t1", "t2", "t3", "t4", "t5"),
                "mov rdx, {t6}",
                row!("t2", "t3", "t4", "t5", "t6"),
                "mov rdx, {t7}",
                row!("t3", "t4", "t5", "t6", "t7"),
                reduce!("t0", "x", "b"),
                b = inout(reg) b.as_ptr() => _,
                lo = out(reg) _, hi = out(reg) _, x = out(reg) _,
                t0 = out(reg) _, t1 = out(reg) _, t2 = out(reg) _, t3 = out(reg) _,
                t4 = out(reg) r0, t5 = inout(reg) a[1] => r1, t6 = inout(reg) a[2] => r2, t7 = inout(reg) a[3] => r3,
                inout("rdx") a[0] => _,
                p1 = const P[1], p3 = const P[3],
                options(pure, readonly, nostack),
            );
        }
        [r0, r1, r2, r3]
    }

    /// Six cross products, then one pass that doubles them on one chain and adds the four squares on the other.
    #[inline(always)]
    fn square(self, a: &Limbs) -> Limbs {
        let (r0, r1, r2, r3);
        // SAFETY: as for the product, and no memory is touched.
        unsafe {
            asm!(
                "mov rdx, {a0}",
                "mulx {t2}, {t1}, {hi}",
                "mulx {t3}, {lo}, {a2}", "add {t2}, {lo}",
                "mulx {t4}, {lo}, {a3}", "adc {t3}, {lo}", "adc {t4}, 0",
                "mov rdx, {hi}",
                // a1·a2 at limbs 3 and 4, a1·a3 at 4 and 5, a2·a3 at 5 and 6.
                "mulx {t6}, {lo}, {a2}", "mulx {t5}, {t7}, {a3}",
                "add {t6}, {t7}", "adc {t5}, 0",
                "add {t3}, {lo}", "adc {t4}, {t6}", "adc {t5}, 0",
                "mov rdx, {a2}",
                "mulx {t6}, {lo}, {a3}", "add {t5}, {lo}", "adc {t6}, 0",
                "xor {t7:e}, {t7:e}",
                // The register of a0 becomes t0.
                "mov rdx, {a0}",
                "mulx {lo}, {a0}, rdx", "adcx {t1}, {t1}", "adox {t1}, {lo}",
                "mov rdx, {hi}",
                "mulx rdx, {lo}, rdx", "adcx {t2}, {t2}", "adox {t2}, {lo}", "adcx {t3}, {t3}", "adox {t3}, rdx",
                "mov rdx, {a2}",
                "mulx rdx, {lo}, rdx", "adcx {t4}, {t4}", "adox {t4}, {lo}", "adcx {t5}, {t5}", "adox {t5}, rdx",
                "mov rdx, {a3}",
                "mulx rdx, {lo}, rdx", "adcx {t6}, {t6}", "adox {t6}, {lo}", "adcx {t7}, {t7}", "adox {t7}, rdx",
                reduce!("a0", "a2", "a3"),
                a0 = inout(reg) a[0] => _, hi = inout(reg) a[1] => _, a2 = inout(reg) a[2] => _, a3 = inout(reg) a[3] => _,
                lo = out(reg) _,
                t1 = out(reg) _, t2 = out(reg) _, t3 = out(reg) _,
                t4 = out(reg) r0, t5 = out(reg) r1, t6 = out(reg) r2, t7 = out(reg) r3,
                out("rdx") _,
                p1 = const P[1], p3 = const P[3],
                options(pure, nomem, nostack),
            );
        }
        [r0, r1, r2, r3]
    }

    /// The sum is below `2p`; `p` is subtracted where that does not borrow.
    #[inline(always)]
    fn add(self, a: &Limbs, b: &Limbs) -> Limbs {
        let [mut r0, mut r1, mut r2, mut r3] = *a;
        // SAFETY: instructions of every x86-64 on registers alone; every one that changes is an output.
        unsafe {
            asm!(
                "mov {c:e}, 0",
                "add {r0}, {b0}", "adc {r1}, {b1}", "adc {r2}, {b2}", "adc {r3}, {b3}", "adc {c}, 0",
                "mov {b0}, {r0}", "mov {b1}, {r1}", "mov {b2}, {r2}", "mov {b3}, {r3}",
                "sub {b0}, -1", "sbb {b1}, {p1}", "sbb {b2}, -1", "sbb {b3}, {p3}", "sbb {c}, 0",
                "cmovnc {r0}, {b0}", "cmovnc {r1}, {b1}", "cmovnc {r2}, {b2}", "cmovnc {r3}, {b3}",
                r0 = inout(reg) r0, r1 = inout(reg) r1, r2 = inout(reg) r2, r3 = inout(reg) r3,
                b0 = inout(reg) b[0] => _, b1 = inout(reg) b[1] => _, b2 = inout(reg) b[2] => _, b3 = inout(reg) b[3] => _,
                c = out(reg) _,
                p1 = in(reg) P[1], p3 = in(reg) P[3],
                options(pure, nomem, nostack),
            );
        }
        [r0, r1, r2, r3]
    }

    /// Where the difference borrows, `p` is added: its limbs are made of the borrow's mask.
    #[inline(always)]
    fn sub(self, a: &Limbs, b: &Limbs) -> Limbs {
        let [mut r0, mut r1, mut r2, mut r3] = *a;
        // SAFETY: as for the sum.
        unsafe {
            asm!(
                "sub {r0}, {b0}", "sbb {r1}, {b1}", "sbb {r2}, {b2}", "sbb {r3}, {b3}",
                "sbb {m}, {m}", "mov {m1}, {m}", "mov {m3}, {m}", "shl {m1}, 32", "btr {m3}, 32",
                "add {r0}, {m}", "adc {r1}, {m1}", "adc {r2}, {m}", "adc {r3}, {m3}",
                r0 = inout(reg) r0, r1 = inout(reg) r1, r2 = inout(reg) r2, r3 = inout(reg) r3,
                b0 = in(reg) b[0], b1 = in(reg) b[1], b2 = in(reg) b[2], b3 = in(reg) b[3],
                m = out(reg) _, m1 = out(reg) _, m3 = out(reg) _,
                options(pure, nomem, nostack),
            );
        }
        [r0, r1, r2, r3]
    }

    /// An odd value becomes even with `p`, whose limbs are made of its lowest bit; RCR shifts the sum's carry in at the top.
    #[inline(always)]
    fn halve(self, a: &Limbs) -> Limbs {
        let [mut r0, mut r1, mut r2, mut r3] = *a;
        // SAFETY: as for the sum.
        unsafe {
            asm!(
                "mov {m}, {r0}", "and {m}, 1", "neg {m}",
                "mov {m1}, {m}", "mov {m3}, {m}", "shl {m1}, 32", "btr {m3}, 32",
                "add {r0}, {m}", "adc {r1}, {m1}", "adc {r2}, {m}", "adc {r3}, {m3}",
                "rcr {r3}, 1", "rcr {r2}, 1", "rcr {r1}, 1", "rcr {r0}, 1",
                r0 = inout(reg) r0, r1 = inout(reg) r1, r2 = inout(reg) r2, r3 = inout(reg) r3,
                m = out(reg) _, m1 = out(reg) _, m3 = out(reg) _,
                options(pure, nomem, nostack),
            );
        }
        [r0, r1, r2, r3]
    }
}

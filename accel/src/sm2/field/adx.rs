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

/// `(t + q·p) / 2^64` in place for `t = t3 ‖ t2 ‖ t1 ‖ q`: the new upper limb is in `q`. The quotient is `t / 2^64 + q·2^192` less
/// `q·(2^32 - 1)` and, two limbs further up, `q·2^32`: one chain of four subtractions, which never borrows in the end. Clobbers
/// `lo`, `hi`, `x`, `y` and `rdx`.
#[rustfmt::skip]
macro_rules! reduce_step {
    ($q:literal, $t1:literal, $t2:literal, $t3:literal, $x:literal, $y:literal) => {
        concat!(
            "mov {lo}, {", $q, "}\n", "mov {hi}, {", $q, "}\n", "shl {lo}, 32\n", "shr {hi}, 32\n",
            "mov {", $x, "}, {lo}\n", "mov {", $y, "}, {hi}\n",
            "sub {", $x, "}, {", $q, "}\n", "sbb {", $y, "}, 0\n",
            "sub {", $t1, "}, {", $x, "}\n", "sbb {", $t2, "}, {", $y, "}\n",
            "sbb {", $t3, "}, {lo}\n", "sbb {", $q, "}, {hi}",
        )
    };
}

/// One row of a product: `t0..t3 += rdx · b`, the top of it into `t4`, which starts at zero, or at the limb that `$start` puts there.
/// The value of five limbs stays below `2^320`, so the last carry is zero. Clobbers `lo` and `hi`; XOR clears both carries.
#[rustfmt::skip]
macro_rules! row {
    ($t0:literal, $t1:literal, $t2:literal, $t3:literal, $t4:literal, $start:literal) => {
        concat!(
            "xor {", $t4, ":e}, {", $t4, ":e}\n", $start,
            "mulx {hi}, {lo}, [{b}]\n", "adcx {", $t0, "}, {lo}\n", "adox {", $t1, "}, {hi}\n",
            "mulx {hi}, {lo}, [{b} + 8]\n", "adcx {", $t1, "}, {lo}\n", "adox {", $t2, "}, {hi}\n",
            "mulx {hi}, {lo}, [{b} + 16]\n", "adcx {", $t2, "}, {lo}\n", "adox {", $t3, "}, {hi}\n",
            "mulx {hi}, {lo}, [{b} + 24]\n", "adcx {", $t3, "}, {lo}\n", "adox {", $t4, "}, {hi}\n",
            "adc {", $t4, "}, 0",
        )
    };
}

/// The product `t0..t7`, below `p²`, divided by `2^256` modulo `p`, into `t4..t7`. The upper half comes with `2^256 - p` added, which costs
/// next to nothing where it starts, and cannot overflow, being below `p`. Four steps leave at most `p` in `t0..t3`; the sum of both
/// carries where it is `p` or more, and is right then; else `p` is added again. Clobbers `lo`, `hi`, `x`, `y` and `rdx`.
#[rustfmt::skip]
macro_rules! reduce {
    ($t0:literal, $x:literal, $y:literal) => {
        concat!(
            reduce_step!($t0, "t1", "t2", "t3", $x, $y), "\n",
            reduce_step!("t1", "t2", "t3", $t0, $x, $y), "\n",
            reduce_step!("t2", "t3", $t0, "t1", $x, $y), "\n",
            reduce_step!("t3", $t0, "t1", "t2", $x, $y), "\n",
            "mov {lo}, -1\n",
            "add {t4}, {", $t0, "}\n", "adc {t5}, {t1}\n", "adc {t6}, {t2}\n", "adc {t7}, {t3}\n", "adc {lo}, 0\n",
            "mov {hi}, {lo}\n", "shl {hi}, 32\n", "lea {", $x, "}, [{lo} + {hi}]\n",
            "add {t4}, {lo}\n", "adc {t5}, {hi}\n", "adc {t6}, {lo}\n", "adc {t7}, {", $x, "}",
        )
    };
}

#[allow(unsafe_code)]
impl Arithmetic for Bmi2Adx {
    const NAME: &'static str = "bmi2+adx";

    /// The limbs of `2^256 - p`, `1`, `2^32 - 1`, `0` and `2^32`, are what the upper half starts with. There is room for them: row `i`, with
    /// `b` below `p`, leaves `2^(64·(i + 1))·(2^256 - p)` of what its limbs hold, and the first `i + 1` of these, times `2^256`, are no more.
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
                "mulx {t4}, {lo}, [{b} + 24]", "adc {t3}, {lo}", "adc {t4}, 1",
                // The registers of a1 to a3 become t5 to t7.
                "mov rdx, {t5}",
                row!("t1", "t2", "t3", "t4", "t5", "mov {t5:e}, 0xffffffff\n"),
                "mov rdx, {t6}",
                row!("t2", "t3", "t4", "t5", "t6", ""),
                "mov rdx, {t7}",
                row!("t3", "t4", "t5", "t6", "t7", "mov {t7}, 0x100000000\n"),
                reduce!("t0", "x", "b"),
                b = inout(reg) b.as_ptr() => _,
                lo = out(reg) _, hi = out(reg) _, x = out(reg) _,
                t0 = out(reg) _, t1 = out(reg) _, t2 = out(reg) _, t3 = out(reg) _,
                t4 = out(reg) r0, t5 = inout(reg) a[1] => r1, t6 = inout(reg) a[2] => r2, t7 = inout(reg) a[3] => r3,
                inout("rdx") a[0] => _,
                options(pure, readonly, nostack),
            );
        }
        [r0, r1, r2, r3]
    }

    /// Six cross products, then one pass that doubles them on one chain and adds the four squares on the other. What is doubled cannot
    /// start with `2^256 - p`.
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
                "mov {lo:e}, 0xffffffff", "mov {hi}, 0x100000000",
                "add {t4}, 1", "adc {t5}, {lo}", "adc {t6}, 0", "adc {t7}, {hi}",
                reduce!("a0", "a2", "a3"),
                a0 = inout(reg) a[0] => _, hi = inout(reg) a[1] => _, a2 = inout(reg) a[2] => _, a3 = inout(reg) a[3] => _,
                lo = out(reg) _,
                t1 = out(reg) _, t2 = out(reg) _, t3 = out(reg) _,
                t4 = out(reg) r0, t5 = out(reg) r1, t6 = out(reg) r2, t7 = out(reg) r3,
                out("rdx") _,
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
                "sbb {m}, {m}", "mov {m1}, {m}", "shl {m1}, 32", "lea {m3}, [{m} + {m1}]",
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
                "mov {m1}, {m}", "shl {m1}, 32", "lea {m3}, [{m} + {m1}]",
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

//! The instructions of [`super`], written by macros: each gives a string for `asm!`, in which `{name}` is an operand.
//!
//! Offsets in the room: quad `q` of words (`W_4q` to `W_4q+3`) at `32q`, its mixed words (`W'_j = W_j ⊕ W_{j+4}`) at `32q + 16`.

/// `T_j <<< (j mod 32)` (GB/T 32905 4.2, 5.3.3) as a signed displacement; the assembler computes it.
macro_rules! constant {
    (parity, $j:expr) => {
        concat!(
            "((((0x79cc4519 << (",
            $j,
            ")) | (0x79cc4519 >> (32 - (",
            $j,
            ")))) & 0xffffffff ^ 0x80000000) - 0x80000000)"
        )
    };
    (choose, $j:expr) => {
        concat!(
            "((((0x7a879d8a << ((",
            $j,
            ") & 31)) | (0x7a879d8a >> (32 - ((",
            $j,
            ") & 31)))) & 0xffffffff ^ 0x80000000) - 0x80000000)"
        )
    };
}

/// `h += GG(e, f, g) + W_j`, where `u = e ⊕ g` comes from the step before. Clobbers `u` and `q`.
macro_rules! add_gg {
    (parity, $word:expr, $f:ident $g:ident $h:ident) => {
        concat!(
            "xor {u:e}, {",
            stringify!($f),
            ":e}\n",
            "add {",
            stringify!($h),
            ":e}, [{room} + ",
            $word,
            "]\n",
            "add {",
            stringify!($h),
            ":e}, {u:e}\n",
        )
    };
    (choose, $word:expr, $f:ident $g:ident $h:ident) => {
        concat!(
            "mov {q:e}, {",
            stringify!($f),
            ":e}\n",
            "xor {q:e}, {",
            stringify!($g),
            ":e}\n",
            "and {u:e}, {q:e}\n",
            "andn {q:e}, {q:e}, {",
            stringify!($g),
            ":e}\n",
            "add {",
            stringify!($h),
            ":e}, [{room} + ",
            $word,
            "]\n",
            "add {",
            stringify!($h),
            ":e}, {q:e}\n",
            "add {",
            stringify!($h),
            ":e}, {u:e}\n",
        )
    };
}

/// `d += FF(a, b, c) + W'_j`. Clobbers `u` and `q`.
#[rustfmt::skip]
macro_rules! add_ff {
    ($form:ident, $mixed:expr, $a:ident $b:ident $c:ident $d:ident) => {
        concat!(
            "mov {q:e}, {", stringify!($b), ":e}\n",
            "xor {q:e}, {", stringify!($c), ":e}\n",
            "add {", stringify!($d), ":e}, [{room} + ", $mixed, "]\n",
            combine_ff!($form, $a $c $d),
            "add {", stringify!($d), ":e}, {q:e}\n",
        )
    };
}

/// FF from `q = b ⊕ c`: in `q`, or in `q` and what `d` gains.
#[rustfmt::skip]
macro_rules! combine_ff {
    (parity, $a:ident $c:ident $d:ident) => {
        concat!("xor {q:e}, {", stringify!($a), ":e}\n")
    };
    (choose, $a:ident $c:ident $d:ident) => {
        concat!(
            "andn {u:e}, {q:e}, {", stringify!($c), ":e}\n",
            "and {q:e}, {", stringify!($a), ":e}\n",
            "add {", stringify!($d), ":e}, {u:e}\n",
        )
    };
}

/// Step `4 * quad + k`; the roles of the eight registers are renamed by the caller. Between steps `u = e ⊕ g`.
macro_rules! step {
    ($form:ident $quad:literal $k:literal: $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
        concat!(
            // t = A <<< 12, s = SS1 before its rotation.
            "rorx {t:e}, {", stringify!($a), ":e}, 20\n",
            "lea {s:e}, [{t} + ", constant!($form, concat!("4 * ", $quad, " + ", $k)), "]\n",
            "add {s:e}, {", stringify!($e), ":e}\n",
            add_gg!($form, concat!("32 * ", $quad, " + 4 * ", $k), $f $g $h),
            "rorx {s:e}, {s:e}, 25\n",
            // h = TT2, t = SS2, d = TT1.
            "add {", stringify!($h), ":e}, {s:e}\n",
            "xor {t:e}, {s:e}\n",
            add_ff!($form, concat!("32 * ", $quad, " + 16 + 4 * ", $k), $a $b $c $d),
            "add {", stringify!($d), ":e}, {t:e}\n",
            // h = P0(TT2), u = P0(TT2) ⊕ F <<< 19: E ⊕ G of the next step.
            "rorx {s:e}, {", stringify!($h), ":e}, 23\n",
            "rorx {q:e}, {", stringify!($h), ":e}, 15\n",
            "rorx {", stringify!($f), ":e}, {", stringify!($f), ":e}, 13\n",
            "mov {u:e}, {", stringify!($f), ":e}\n",
            "xor {", stringify!($h), ":e}, {s:e}\n",
            "xor {u:e}, {q:e}\n",
            "xor {u:e}, {", stringify!($h), ":e}\n",
            "xor {", stringify!($h), ":e}, {q:e}\n",
            "rorx {", stringify!($b), ":e}, {", stringify!($b), ":e}, 23\n",
        )
    };
}

/// Four steps, after which the registers hold their own names again, with a part of the vector unit's work after each.
///
/// The jump goes nowhere: it begins a new window of fetching. Processors that keep decoded instructions look for them at such
/// beginnings only; without it, one wrong guess about the end of the loop made a whole block run at the decoders' pace, 300 cycles
/// longer.
macro_rules! quad {
    ($form:ident $quad:literal, [$v0:expr, $v1:expr, $v2:expr, $v3:expr $(,)?]) => {
        concat!(
            step!($form $quad 0: a b c d e f g h), $v0,
            step!($form $quad 1: d a b c h e f g), $v1,
            step!($form $quad 2: c d a b g h e f), $v2,
            step!($form $quad 3: b c d a f g h e), $v3,
            "jmp 3f\n3:\n",
        )
    };
}

/// `to = from <<< left` in every word, by way of `y5`; `right` is 32 less `left`.
macro_rules! rotate {
    ($to:ident $from:ident $left:literal $right:literal) => {
        concat!(
            "vpsrld {y5}, {",
            stringify!($from),
            "}, ",
            $right,
            "\n",
            "vpslld {",
            stringify!($to),
            "}, {",
            stringify!($from),
            "}, ",
            $left,
            "\n",
            "vpor {",
            stringify!($to),
            "}, {",
            stringify!($to),
            "}, {y5}\n",
        )
    };
}

/// `to ^= x ⊕ y`.
macro_rules! xor_two {
    ($to:ident $x:ident $y:ident) => {
        concat!(
            "vpxor {",
            stringify!($to),
            "}, {",
            stringify!($to),
            "}, {",
            stringify!($x),
            "}\n",
            "vpxor {",
            stringify!($to),
            "}, {",
            stringify!($to),
            "}, {",
            stringify!($y),
            "}\n",
        )
    };
}

/// Four steps beside the expansion of quad `quad + 4` (GB/T 32905 5.3.2 a) from the four quads before it, `x0` the oldest, which
/// the new one replaces. The fourth word needs the first of the same quad: its part, `P1(W <<< 15)`, is added at the end.
macro_rules! quad_and_expand {
    ($form:ident $quad:literal: $x0:ident $x1:ident $x2:ident $x3:ident) => {
        quad!($form $quad, [
            concat!(
                // y0 = W_{j-13}, y1 = W_{j-9}, y2 = W_{j-3} <<< 15, zero where it is not known yet.
                "vpsrldq {y2}, {", stringify!($x3), "}, 4\n",
                "vpalignr {y1}, {", stringify!($x2), "}, {", stringify!($x1), "}, 12\n",
                "vpalignr {y0}, {", stringify!($x1), "}, {", stringify!($x0), "}, 12\n",
                rotate!(y2 y2 15 17),
            ),
            concat!(
                // y3 = W_{j-6}, y0 = W_{j-13} <<< 7, y1 = the argument of P1.
                "vpalignr {y3}, {", stringify!($x3), "}, {", stringify!($x2), "}, 8\n",
                xor_two!(y1 $x0 y2),
                rotate!(y0 y0 7 25),
            ),
            concat!(
                // y1 = the quad but for its fourth word, y2 = its first word in the fourth's place.
                rotate!(y2 y1 15 17),
                rotate!(y4 y1 23 9),
                xor_two!(y1 y2 y4),
                xor_two!(y1 y0 y3),
                "vpslldq {y2}, {y1}, 12\n",
            ),
            concat!(
                // P1(W <<< 15) is W <<< 15 ⊕ W <<< 30 ⊕ W <<< 38.
                rotate!(y0 y2 15 17),
                rotate!(y3 y2 30 2),
                rotate!(y4 y2 6 26),
                xor_two!(y0 y3 y4),
                "vpxor {", stringify!($x0), "}, {y1}, {y0}\n",
                "vpxor {y1}, {", stringify!($x3), "}, {", stringify!($x0), "}\n",
                "vmovdqa [{room} + 32 * ", $quad, " + 128], {", stringify!($x0), "}\n",
                "vmovdqa [{room} + 32 * ", $quad, " + 112], {y1}\n",
            ),
        ])
    };
}

/// Loads the next block into `x0` to `x3` and moves on, to the last block at most.
macro_rules! load {
    () => {
        "mov {t}, [{room} + {next}]\n\
         vmovdqu {x0}, [{t}]\n\
         vmovdqu {x1}, [{t} + 16]\n\
         vmovdqu {x2}, [{t} + 32]\n\
         vmovdqu {x3}, [{t} + 48]\n\
         mov {s}, [{room} + {last}]\n\
         add {t}, 64\n\
         cmp {t}, {s}\n\
         cmova {t}, {s}\n\
         mov [{room} + {next}], {t}\n"
    };
}

/// The words of a loaded block.
macro_rules! swap_bytes {
    () => {
        "vpshufb {x0}, {x0}, {swap}\n\
         vpshufb {x1}, {x1}, {swap}\n\
         vpshufb {x2}, {x2}, {swap}\n\
         vpshufb {x3}, {x3}, {swap}\n"
    };
}

/// Stores the first sixteen words.
macro_rules! store_words {
    () => {
        "vmovdqa [{room}], {x0}\n\
         vmovdqa [{room} + 32], {x1}\n\
         vmovdqa [{room} + 64], {x2}\n\
         vmovdqa [{room} + 96], {x3}\n"
    };
}

/// Stores the first twelve mixed words.
macro_rules! store_mixed {
    () => {
        "vpxor {y0}, {x0}, {x1}\n\
         vpxor {y1}, {x1}, {x2}\n\
         vpxor {y2}, {x2}, {x3}\n\
         vmovdqa [{room} + 16], {y0}\n\
         vmovdqa [{room} + 48], {y1}\n\
         vmovdqa [{room} + 80], {y2}\n"
    };
}

/// Adds the state before the block to the state after it, GB/T 32905 5.3.3.
macro_rules! feed_forward {
    ($($register:ident $index:literal)+) => {
        concat!(
            "mov {t}, [{room} + {state}]\n",
            $(
                "xor {", stringify!($register), ":e}, [{t} + 4 * ", $index, "]\n",
                "mov [{t} + 4 * ", $index, "], {", stringify!($register), ":e}\n",
            )+
        )
    };
}

/// The registers from the state.
macro_rules! load_state {
    ($($register:ident $index:literal)+) => {
        concat!(
            "mov {t}, [{room} + {state}]\n",
            $("mov {", stringify!($register), ":e}, [{t} + 4 * ", $index, "]\n",)+
        )
    };
}

//! What SM4 kernels on registers of words share: one word of each of several blocks per register, four groups side by side.
//!
//! [`registers`] describes a width of registers. [`sm4_on_words`] writes everything around the round for it; a kernel brings `enter` (the
//! map its states stay behind), `leave` (back), `constants` and `transform` for its instructions. Macros, because a function compiled for one
//! set of instructions cannot be inlined into one compiled for fewer, which is what a trait's method would have to be.

mod registers;

pub(super) use registers::registers;

/// Makes `$token`, whose proof covers `$features`, an [`Engine`](super::schedule::Engine), from `enter`, `leave`, `constants` and
/// `transform` of the calling module, on the registers of `$width`.
macro_rules! sm4_on_words {
    ($name:literal, $token:ty, $features:tt, $width:ident) => {
        use crate::ct;
        use crate::sm4::schedule::Engine;
        use crate::sm4::$width::*;
        use crate::sm4::{BLOCK_BYTES, add};

        impl Engine for $token {
            type Keys = [u32; 32];
            const NAME: &'static str = $name;

            fn keys(entered: &[u32; 32]) -> [u32; 32] {
                *entered
            }

            fn crypt(self, round_keys: &[u32; 32], blocks: &mut [[u8; BLOCK_BYTES]]) {
                // SAFETY: the token exists only where these instructions were detected.
                unsafe { crypt(round_keys, blocks.as_flattened_mut()) }
            }

            fn crypt_masked(
                self,
                round_keys: &[u32; 32],
                blocks: &mut [[u8; BLOCK_BYTES]],
                masks: &[[u8; BLOCK_BYTES]],
            ) {
                // SAFETY: as in `crypt`.
                unsafe { crypt_masked(round_keys, blocks.as_flattened_mut(), masks.as_flattened()) }
            }

            fn add_stream(
                self,
                round_keys: &[u32; 32],
                counter: &[u8; BLOCK_BYTES],
                first: Option<&mut [u8; BLOCK_BYTES]>,
                data: &mut [u8],
            ) {
                // SAFETY: as in `crypt`.
                unsafe { add_stream(round_keys, counter, first, data) }
            }
        }

        #[target_feature(enable = $features)]
        fn crypt(round_keys: &[u32; 32], data: &mut [u8]) {
            let (wide, rest) = data.as_chunks_mut::<WIDE_BYTES>();
            for data in wide {
                crypt_groups::<WIDE, false>(round_keys, data, &[0; WIDE_BYTES]);
            }
            if !rest.is_empty() {
                crypt_rest::<false>(round_keys, rest, &[]);
            }
        }

        #[target_feature(enable = $features)]
        fn crypt_masked(round_keys: &[u32; 32], data: &mut [u8], masks: &[u8]) {
            let (wide, rest) = data.as_chunks_mut::<WIDE_BYTES>();
            let (wide_masks, rest_masks) = masks.as_chunks::<WIDE_BYTES>();
            for (data, masks) in wide.iter_mut().zip(wide_masks) {
                crypt_groups::<WIDE, true>(round_keys, data, masks);
            }
            if !rest.is_empty() {
                crypt_rest::<true>(round_keys, rest, rest_masks);
            }
        }

        /// Fewer blocks than a kernel call takes, through a buffer where the last group is not whole.
        #[target_feature(enable = $features)]
        #[inline]
        fn crypt_rest<const MASKED: bool>(round_keys: &[u32; 32], data: &mut [u8], masks: &[u8]) {
            if data.len().is_multiple_of(GROUP_BYTES) {
                return crypt_few::<MASKED>(round_keys, data, masks);
            }
            let bytes = data.len().next_multiple_of(GROUP_BYTES);
            let (mut buffer, mut mask_buffer) = ([0; WIDE_BYTES], [0; WIDE_BYTES]);
            buffer[..data.len()].copy_from_slice(data);
            mask_buffer[..masks.len()].copy_from_slice(masks);
            crypt_few::<MASKED>(round_keys, &mut buffer[..bytes], &mask_buffer);
            data.copy_from_slice(&buffer[..data.len()]);
            ct::wipe(&mut buffer);
            if MASKED {
                ct::wipe(&mut mask_buffer);
            }
        }

        /// As many groups as a kernel call takes, or fewer.
        #[target_feature(enable = $features)]
        #[inline]
        fn crypt_few<const MASKED: bool>(round_keys: &[u32; 32], data: &mut [u8], masks: &[u8]) {
            match data.len() / GROUP_BYTES {
                1 => crypt_groups::<1, MASKED>(round_keys, data, masks),
                2 => crypt_groups::<2, MASKED>(round_keys, data, masks),
                3 => crypt_groups::<3, MASKED>(round_keys, data, masks),
                _ => crypt_groups::<WIDE, MASKED>(round_keys, data, masks),
            }
        }

        /// The first `G` groups of `data`, all in the registers at once.
        #[target_feature(enable = $features)]
        #[inline]
        fn crypt_groups<const G: usize, const MASKED: bool>(round_keys: &[u32; 32], data: &mut [u8], masks: &[u8]) {
            let mut x = [[zero(); 4]; G];
            for (group, x) in x.iter_mut().enumerate() {
                let mut state = load(data, group);
                if MASKED {
                    state = sum(state, load(masks, group));
                }
                *x = transpose(state).map(|x| enter(x));
            }
            let x = rounds(round_keys, x);
            for (group, x) in x.iter().enumerate() {
                let mut state = finish(*x);
                if MASKED {
                    state = sum(state, load(masks, group));
                }
                store(data, group, state);
            }
        }

        #[target_feature(enable = $features)]
        fn add_stream(
            round_keys: &[u32; 32],
            counter: &[u8; BLOCK_BYTES],
            first: Option<&mut [u8; BLOCK_BYTES]>,
            mut data: &mut [u8],
        ) {
            let mut counters = Counters::new(counter);
            let mut stream = [0; WIDE_BYTES];
            if let Some(first) = first {
                let head;
                (head, data) = data.split_at_mut(data.len().min(WIDE_BYTES - BLOCK_BYTES));
                counters.stream(round_keys, head.len() + BLOCK_BYTES, &mut stream);
                first.copy_from_slice(&stream[..BLOCK_BYTES]);
                add(head, &stream[BLOCK_BYTES..]);
            }
            let (wide, rest) = data.as_chunks_mut::<WIDE_BYTES>();
            for data in wide {
                counters.add_groups::<WIDE>(round_keys, data);
            }
            if !rest.is_empty() {
                counters.stream(round_keys, rest.len(), &mut stream);
                add(rest, &stream);
            }
            ct::wipe(&mut stream);
        }

        /// Counter blocks, born as words behind `A`.
        struct Counters {
            /// The words that do not count.
            fixed: [Vector; 3],
            /// The word that counts, of the next block.
            next: u32,
        }

        impl Counters {
            #[target_feature(enable = $features)]
            fn new(counter: &[u8; BLOCK_BYTES]) -> Self {
                let (words, _) = counter.as_chunks::<4>();
                let fixed = core::array::from_fn(|i| enter(every_word(i32::from_le_bytes(words[i]))));
                Self { fixed, next: u32::from_be_bytes(words[3]) }
            }

            /// Adds the next `G * GROUP` blocks of key stream to the start of `data`.
            #[target_feature(enable = $features)]
            #[inline]
            fn add_groups<const G: usize>(&mut self, round_keys: &[u32; 32], data: &mut [u8; WIDE_BYTES]) {
                let mut x = [[zero(); 4]; G];
                for x in &mut x {
                    let [a, b, c] = self.fixed;
                    *x = [a, b, c, enter(counting(self.next))];
                    self.next = self.next.wrapping_add(GROUP as u32);
                }
                let x = rounds(round_keys, x);
                for (group, x) in x.iter().enumerate() {
                    let state = sum(finish(*x), load(data, group));
                    store(data, group, state);
                }
            }

            /// Writes the next `bytes` of key stream, at most one kernel call's, to the start of `stream`.
            #[target_feature(enable = $features)]
            fn stream(&mut self, round_keys: &[u32; 32], bytes: usize, stream: &mut [u8; WIDE_BYTES]) {
                stream.fill(0);
                match bytes.div_ceil(GROUP_BYTES) {
                    1 => self.add_groups::<1>(round_keys, stream),
                    2 => self.add_groups::<2>(round_keys, stream),
                    3 => self.add_groups::<3>(round_keys, stream),
                    _ => self.add_groups::<WIDE>(round_keys, stream),
                }
            }
        }

        /// All 32 rounds on states behind `A`.
        #[target_feature(enable = $features)]
        #[inline]
        fn rounds<const G: usize>(round_keys: &[u32; 32], mut x: [State; G]) -> [State; G] {
            if G == 1 {
                x[0] = rounds_of_one(round_keys, x[0]);
                return x;
            }
            let constants = &constants();
            let (quads, _) = round_keys.as_chunks::<4>();
            for keys in quads {
                let keys = keys.map(|key| every_word(key as i32));
                for [a, b, c, d] in &mut x {
                    *a = round(constants, *a, sum_of_four(*b, *c, keys[0], *d));
                }
                for [a, b, c, d] in &mut x {
                    *b = round(constants, *b, sum_of_four(*c, *d, keys[1], *a));
                }
                for [a, b, c, d] in &mut x {
                    *c = round(constants, *c, sum_of_four(*d, *a, keys[2], *b));
                }
                for [a, b, c, d] in &mut x {
                    *d = round(constants, *d, sum_of_four(*a, *b, keys[3], *c));
                }
            }
            x
        }

        /// F of GB/T 32907 6.1 behind `A`.
        #[target_feature(enable = $features)]
        #[inline]
        fn round(constants: &Constants, x0: Vector, input: Vector) -> Vector {
            let [near, far] = transform::<false>(constants, input);
            xor(xor(x0, near), far)
        }

        /// All 32 rounds on one state, which waits for its own results: a round's input is made of the parts that the word before it is the
        /// sum of, not of that word.
        #[target_feature(enable = $features)]
        #[inline]
        fn rounds_of_one(round_keys: &[u32; 32], [mut a, mut b, mut c, mut d]: State) -> State {
            let constants = &constants();
            // The newest word is the sum of these three.
            let ([mut near, mut far], mut older) = ([zero(); 2], d);
            let (quads, _) = round_keys.as_chunks::<4>();
            for keys in quads {
                let keys = keys.map(|key| every_word(key as i32));
                [near, far] = transform::<true>(constants, xor(xor(sum_of_four(b, c, keys[0], older), near), far));
                (older, a) = (a, xor(xor(a, near), far));
                [near, far] = transform::<true>(constants, xor(xor(sum_of_four(c, d, keys[1], older), near), far));
                (older, b) = (b, xor(xor(b, near), far));
                [near, far] = transform::<true>(constants, xor(xor(sum_of_four(d, a, keys[2], older), near), far));
                (older, c) = (c, xor(xor(c, near), far));
                [near, far] = transform::<true>(constants, xor(xor(sum_of_four(a, b, keys[3], older), near), far));
                (older, d) = (d, xor(xor(d, near), far));
            }
            [a, b, c, d]
        }

        /// Blocks in memory's order: the words reversed (R of GB/T 32907 7.1), in front of `A` again.
        #[target_feature(enable = $features)]
        #[inline]
        fn finish(x: State) -> State {
            transpose([x[3], x[2], x[1], x[0]].map(|x| leave(x)))
        }
    };
}

pub(super) use sm4_on_words;

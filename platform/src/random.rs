//! Randomness of the operating system: `getrandom(2)`, blocking until the kernel's pool is initialised.

use std::io;

/// The kernel's CSPRNG. Stateless: copies are the same source.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl OsRandom {
    /// Fills `out` with random bytes.
    ///
    /// # Errors
    /// Only if the kernel refuses `getrandom(2)` itself (a seccomp filter); the bytes are then not to be used.
    pub fn fill(&self, out: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            let rest = &mut out[filled..];
            // SAFETY: `rest` is a live, writable slice of `rest.len()` bytes; the kernel writes at most that many.
            let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
            match usize::try_from(got) {
                Ok(count) => filled += count,
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// An array of random bytes.
    ///
    /// # Errors
    /// As [`OsRandom::fill`].
    pub fn array<const N: usize>(&self) -> io::Result<[u8; N]> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::OsRandom;

    #[test]
    fn fills_the_whole_slice_and_never_repeats() {
        let mut long = vec![0u8; 1 << 20];
        OsRandom.fill(&mut long).unwrap();
        assert!(long.chunks(64).all(|chunk| chunk.iter().any(|&byte| byte != 0)), "a run of 64 zero bytes");
        assert_ne!(OsRandom.array::<32>().unwrap(), OsRandom.array::<32>().unwrap());
    }
}

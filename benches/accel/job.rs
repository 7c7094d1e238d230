//! What a peer is asked to do, what it did, and whether that is what we do.

use bixi_accel::sm4::xts::TweakOrder;
use bixi_accel::{sm2, sm3, sm4, workload};

pub(crate) const KEY: [u8; 16] = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10";
/// Data key and tweak key of XTS.
pub(crate) const XTS_KEY: [u8; 32] =
    *b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10-tweak of a page";
pub(crate) const MAC_KEY: [u8; 32] = [11; 32];
/// Counter block, tweak or chaining value; GCM takes its first twelve bytes as nonce.
pub(crate) const IV: [u8; 16] = *b"a starting block";
pub(crate) const NONCE_BYTES: usize = 12;
pub(crate) const TAG_BYTES: usize = 16;
/// No ciphertext of a message of 32 bytes is longer: two coordinates, a digest, the text, and their heads.
pub(crate) const CIPHERTEXT_BYTES_MAX: usize = 160;

/// An operation that peers may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Digest,
    Hmac,
    Cipher(Mode),
    /// A signature of a message of 32 bytes.
    Sign,
    Verify,
    /// A message of 32 bytes to the first signer; the result is DER (GM/T 0009), with zeroes behind it.
    Encrypt,
    /// What was encrypted to the first signer, DER.
    Decrypt,
}

/// A mode of a block cipher; encryption where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Ecb,
    CbcDecrypt,
    Ctr,
    Gcm,
    Xts(TweakOrder),
}

/// A key with a signature of [`bixi_accel::workload::MESSAGE`].
pub(crate) struct Claim {
    pub(crate) secret: [u8; 32],
    pub(crate) public: [u8; 64],
    pub(crate) signature: [u8; 64],
}

/// A task with its inputs.
pub(crate) struct Job {
    pub(crate) task: Task,
    pub(crate) data: Vec<u8>,
    /// Whether a peer may do many at once.
    pub(crate) many: bool,
    /// Signers; one operation alone is the first's.
    pub(crate) claims: Vec<Claim>,
    /// The message, encrypted to the first signer, DER.
    pub(crate) ciphertext: Vec<u8>,
}

/// A peer's way to do a job: one buffer for each operation of a call, and the call.
pub(crate) struct Work<'a> {
    buffers: Vec<Vec<u8>>,
    call: Call<'a>,
}

type Call<'a> = Box<dyn FnMut(&mut [Vec<u8>]) + 'a>;

impl<'a> Work<'a> {
    /// One operation a call, from and to `buffer`.
    pub(crate) fn one(buffer: Vec<u8>, mut call: impl FnMut(&mut [u8]) + 'a) -> Self {
        Self::many(1, &buffer, move |buffers| call(&mut buffers[0]))
    }

    /// `count` operations a call, each with its copy of `buffer`.
    pub(crate) fn many(count: usize, buffer: &[u8], call: impl FnMut(&mut [Vec<u8>]) + 'a) -> Self {
        Self { buffers: vec![buffer.to_vec(); count], call: Box::new(call) }
    }

    pub(crate) fn run(&mut self) {
        (self.call)(&mut self.buffers);
    }

    /// Operations a call.
    pub(crate) fn count(&self) -> u32 {
        self.buffers.len() as u32
    }
}

impl Job {
    /// The buffer a peer starts from: the data, with room for a tag where the mode makes one; room for the result elsewhere.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        match self.task {
            Task::Digest | Task::Hmac => vec![0; 32],
            Task::Cipher(Mode::Gcm) => [&self.data[..], &[0; TAG_BYTES]].concat(),
            Task::Cipher(_) => self.data.clone(),
            Task::Sign => vec![0; 64],
            Task::Verify => vec![0],
            Task::Encrypt => vec![0; CIPHERTEXT_BYTES_MAX],
            Task::Decrypt => vec![0; workload::MESSAGE.len()],
        }
    }

    /// Runs `work` once and says whether each of its results is what we compute or accept.
    pub(crate) fn accepts(&self, work: &mut Work<'_>) -> bool {
        work.run();
        let expected = self.expected();
        let mut results = work.buffers.iter().enumerate();
        match self.task {
            Task::Sign => results.all(|(index, result)| self.claims[index % self.claims.len()].is_signed_by(result)),
            Task::Encrypt => results.all(|(_, result)| self.claims[0].decrypts(result)),
            _ => results.all(|(_, result)| *result == expected),
        }
    }

    /// The same job with signatures that no verifier may accept.
    pub(crate) fn forged(&self) -> Self {
        let forge = |claim: &Claim| {
            let mut signature = claim.signature;
            signature[63] ^= 1;
            Claim { signature, ..*claim }
        };
        let claims = self.claims.iter().map(forge).collect();
        Self { data: self.data.clone(), ciphertext: self.ciphertext.clone(), claims, ..*self }
    }

    /// Our result.
    fn expected(&self) -> Vec<u8> {
        match self.task {
            Task::Digest => sm3::digest(&self.data).into(),
            Task::Hmac => {
                let mut mac = sm3::Hmac::new(&MAC_KEY);
                mac.update(&self.data);
                mac.finalize().into()
            }
            Task::Cipher(mode) => processed(mode, self.buffer()),
            Task::Sign | Task::Encrypt => Vec::new(),
            Task::Decrypt => workload::MESSAGE.into(),
            Task::Verify => vec![u8::from(self.claims.iter().all(|claim| claim.is_signed_by(&claim.signature)))],
        }
    }
}

fn processed(mode: Mode, mut buffer: Vec<u8>) -> Vec<u8> {
    let key = sm4::Key::new(&KEY);
    match mode {
        Mode::Ecb => key.encrypt_blocks(buffer.as_chunks_mut().0),
        Mode::CbcDecrypt => sm4::cbc::decrypt(&key, &mut IV.clone(), buffer.as_chunks_mut().0),
        Mode::Ctr => sm4::ctr::apply(&key, &IV, &mut buffer),
        Mode::Gcm => {
            let nonce = IV.first_chunk().expect("twelve bytes");
            let (data, tag) = buffer.split_last_chunk_mut().expect("room for a tag");
            *tag = sm4::gcm::seal(&sm4::gcm::Key::new(&KEY), nonce, &[], data);
        }
        Mode::Xts(order) => {
            let key = sm4::xts::Key::new(&XTS_KEY, order).expect("the halves differ");
            key.encrypt(&IV, &mut buffer).expect("a block at least");
        }
    }
    buffer
}

impl Claim {
    fn is_signed_by(&self, signature: &[u8]) -> bool {
        let key = sm2::PublicKey::from_bytes(&self.public).expect("a point");
        let signature = sm2::Signature(signature.try_into().expect("64 bytes"));
        sm2::verify(&key, workload::ID, &workload::MESSAGE, &signature)
    }

    /// Whether a ciphertext in DER, with whatever behind it, is the message encrypted to this key.
    fn decrypts(&self, ciphertext: &[u8]) -> bool {
        // SEQUENCE, a length of one byte in the long form.
        let &[0x30, 0x81, bytes, ..] = ciphertext else { return false };
        let key = sm2::PrivateKey::from_bytes(&self.secret).expect("a key");
        let ciphertext = sm2::encryption::Ciphertext::from_der(&ciphertext[..3 + usize::from(bytes)]);
        ciphertext.is_ok_and(|ciphertext| {
            sm2::encryption::decrypt(&key, &ciphertext).is_ok_and(|message| *message == workload::MESSAGE)
        })
    }
}

//! Records under SM4-GCM (RFC 8446 5.2, RFC 8998 3.1).

use bixi_accel::sm4::gcm;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, Nonce,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm, UnsupportedOperationError,
    make_tls13_aad,
};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion};

const KEY_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

pub(super) struct Sm4Gcm;

impl Tls13AeadAlgorithm for Sm4Gcm {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Records::new(&key, iv))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Records::new(&key, iv))
    }

    fn key_len(&self) -> usize {
        KEY_BYTES
    }

    /// rustls has no name for SM4's keys, and nothing here takes a connection's keys out.
    fn extract_keys(&self, _: AeadKey, _: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

/// One direction of a connection.
struct Records {
    key: gcm::Key,
    iv: Iv,
}

impl Records {
    fn new(key: &AeadKey, iv: Iv) -> Self {
        let key = key.as_ref().try_into().expect("rustls derives keys of key_len bytes");
        Self { key: gcm::Key::new(key), iv }
    }
}

impl MessageEncrypter for Records {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error> {
        let total = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(total);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&[message.typ.into()]);
        let nonce = Nonce::new(&self.iv, seq).0;
        let tag = gcm::seal(&self.key, &nonce, &make_tls13_aad(total), payload.as_mut());
        payload.extend_from_slice(&tag);
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload))
    }

    /// One byte for the type of the content, which is sealed with it.
    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + 1 + TAG_BYTES
    }
}

impl MessageDecrypter for Records {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let payload = &mut message.payload;
        let aad = make_tls13_aad(payload.len());
        let nonce = Nonce::new(&self.iv, seq).0;
        let (data, tag) = payload.split_last_chunk_mut::<TAG_BYTES>().ok_or(Error::DecryptError)?;
        gcm::open(&self.key, &nonce, &aad, data, tag).map_err(|_| Error::DecryptError)?;
        let plain = data.len();
        payload.truncate(plain);
        message.into_tls13_unpadded_message()
    }
}

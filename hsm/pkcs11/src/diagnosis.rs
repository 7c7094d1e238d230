//! What a signature that does not verify is instead: the mix-ups vendors' mechanisms are known for.

use ::sm2::elliptic_curve::PrimeField as _;
use ::sm2::elliptic_curve::ops::Reduce as _;
use ::sm2::elliptic_curve::point::AffineCoordinates as _;
use ::sm2::{FieldBytes, ProjectivePoint, Scalar};
use bixi_accel::sm2::{self, PublicKey, Signature};
use bixi_accel::sm3;

use crate::profile::SignatureForm;

/// A signature in that form.
pub(crate) fn read(answer: &[u8], form: SignatureForm) -> Option<Signature> {
    match form {
        SignatureForm::Raw => answer.try_into().ok().map(Signature),
        SignatureForm::Der => Signature::from_der(answer).ok(),
    }
}

/// The signature in raw form, verified, or why it is none.
pub(crate) fn accept(
    key: &PublicKey,
    digest: &[u8; 32],
    answer: &[u8],
    form: SignatureForm,
) -> Result<[u8; 64], String> {
    let (other, other_name) = match form {
        SignatureForm::Raw => (SignatureForm::Der, "DER"),
        SignatureForm::Der => (SignatureForm::Raw, "raw r ‖ s"),
    };
    match (read(answer, form), read(answer, other)) {
        (Some(signature), _) if sm2::verify_digest(key, digest, &signature) => Ok(signature.0),
        (_, Some(signature)) if sm2::verify_digest(key, digest, &signature) => {
            Err(format!("the signature is right but in {other_name} form: correct `signature` in the profile"))
        }
        (Some(signature), _) | (None, Some(signature)) => Err(explain(key, digest, &signature)),
        (None, None) => Err(format!("{} bytes are no signature in either form", answer.len())),
    }
}

fn explain(key: &PublicKey, digest: &[u8; 32], signature: &Signature) -> String {
    let z = sm2::identity_digest(sm2::DEFAULT_ID, key);
    let is_sm2_of = |e: [u8; 32]| sm2::verify_digest(key, &e, signature);
    let what = if is_sm2_of(sm2::message_digest(&z, digest)) {
        "it is SM2 over SM3(Z ‖ digest): the mechanism takes messages and computes Z itself"
    } else if is_sm2_of(sm3::digest(digest)) {
        "it is SM2 over SM3(digest): the mechanism hashes what it is given"
    } else if is_ecdsa(key, digest, signature) {
        "it is plain ECDSA on the SM2 curve, not SM2: the mechanism is the wrong one"
    } else {
        "it fits neither this key and digest nor a known mix-up: another key, or a defect"
    };
    format!("the signature does not verify: {what}")
}

/// Whether `signature` is ECDSA over `digest` (FIPS 186-5 6.4.2) on the SM2 curve. Public values only.
fn is_ecdsa(key: &PublicKey, digest: &[u8; 32], signature: &Signature) -> bool {
    recovered_r(key, digest, signature).is_some_and(|(r, expected)| r == expected)
}

fn recovered_r(key: &PublicKey, digest: &[u8; 32], signature: &Signature) -> Option<(Scalar, Scalar)> {
    let (r, s) = signature.0.split_first_chunk::<32>()?;
    let scalar = |bytes: &[u8]| Option::<Scalar>::from(Scalar::from_repr(FieldBytes::try_from(bytes).ok()?));
    let (r, s) = (scalar(r)?, scalar(s)?);
    let inverse = Option::<Scalar>::from(s.invert())?;
    let e = Scalar::reduce(&FieldBytes::from(*digest));
    let public = ::sm2::PublicKey::from_sec1_bytes(&key.to_sec1()).ok()?.to_projective();
    let sum = ProjectivePoint::GENERATOR * (e * inverse) + public * (r * inverse);
    Some((Scalar::reduce(&sum.to_affine().x()), r))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bixi_accel::sm2::PrivateKey;

    const DIGEST: [u8; 32] = [7; 32];

    /// Different bytes at each call; these keys protect nothing.
    struct Counter(u8);

    impl bixi_accel::Random for Counter {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), bixi_accel::RandomError> {
            self.0 = self.0.wrapping_add(1);
            out.fill(self.0);
            Ok(())
        }
    }

    fn key() -> PrivateKey {
        PrivateKey::from_bytes(&[0x11; 32]).unwrap()
    }

    fn diagnosed(answer: &[u8], form: SignatureForm) -> String {
        accept(&key().public_key(), &DIGEST, answer, form).unwrap_err()
    }

    fn signed(digest: &[u8; 32]) -> Signature {
        sm2::sign_digest(&key(), digest, &mut Counter(1)).unwrap()
    }

    #[test]
    fn accepts_both_forms_where_the_profile_says_so() {
        let signature = signed(&DIGEST);
        let public = key().public_key();
        assert_eq!(accept(&public, &DIGEST, &signature.0, SignatureForm::Raw), Ok(signature.0));
        assert_eq!(accept(&public, &DIGEST, &signature.to_der(), SignatureForm::Der), Ok(signature.0));
    }

    #[test]
    fn names_the_other_form() {
        let signature = signed(&DIGEST);
        assert!(diagnosed(&signature.to_der(), SignatureForm::Raw).contains("in DER form"));
        assert!(diagnosed(&signature.0, SignatureForm::Der).contains("in raw r ‖ s form"));
        assert!(diagnosed(&[1, 2, 3], SignatureForm::Raw).contains("3 bytes are no signature"));
    }

    #[test]
    fn names_a_device_that_hashes_or_computes_z() {
        let z = sm2::identity_digest(sm2::DEFAULT_ID, &key().public_key());
        let with_z = signed(&sm2::message_digest(&z, &DIGEST));
        assert!(diagnosed(&with_z.0, SignatureForm::Raw).contains("computes Z itself"));
        let hashed = signed(&sm3::digest(&DIGEST));
        assert!(diagnosed(&hashed.0, SignatureForm::Raw).contains("hashes what it is given"));
        let other = signed(&[9; 32]);
        assert!(diagnosed(&other.0, SignatureForm::Raw).contains("another key, or a defect"));
    }

    #[test]
    fn names_plain_ecdsa() {
        let scalar = |byte| Scalar::from_repr(FieldBytes::from([byte; 32])).unwrap();
        let (d, k, e) = (scalar(0x11), scalar(0x22), Scalar::reduce(&FieldBytes::from(DIGEST)));
        let r = Scalar::reduce(&(ProjectivePoint::GENERATOR * k).to_affine().x());
        let s = k.invert().unwrap() * (e + r * d);
        let ecdsa = [r.to_repr(), s.to_repr()].concat();
        assert!(diagnosed(&ecdsa, SignatureForm::Raw).contains("plain ECDSA"));
    }
}

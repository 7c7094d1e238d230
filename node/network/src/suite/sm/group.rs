//! curveSM2 (RFC 8998 3.1, group 41): the plain Diffie-Hellman of TLS 1.3 on SM2's curve.

use bixi_accel::sm2::exchange::diffie_hellman;
use bixi_accel::sm2::{PrivateKey, PublicKey};
use rustls::crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved};

use crate::random::System;

const CURVE_SM2: NamedGroup = NamedGroup::Unknown(41);

#[derive(Debug)]
pub(super) struct CurveSm2;

impl SupportedKxGroup for CurveSm2 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let key = PrivateKey::generate(&mut System).map_err(|error| Error::General(error.to_string()))?;
        Ok(Box::new(Ephemeral { share: key.public_key().to_sec1(), key }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        CURVE_SM2
    }
}

struct Ephemeral {
    key: PrivateKey,
    share: [u8; 65],
}

impl ActiveKeyExchange for Ephemeral {
    /// The point is checked to lie on the curve; its order is prime, so the product is never infinity.
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let uncompressed: &[u8; 65] = peer.try_into().map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        let peer = PublicKey::from_sec1(uncompressed).map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        Ok(SharedSecret::from(&diffie_hellman(&self.key, &peer)[..]))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        CURVE_SM2
    }
}

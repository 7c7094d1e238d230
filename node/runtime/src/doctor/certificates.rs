//! How long the certificates of `[p2p]` are valid.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bixi_network::pki;

use crate::doctor::{Check, Verdict};
use crate::settings::Settings;

/// Time enough to have a certificate issued and installed.
const WARNING_DAYS: i64 = 30;

/// A certificate file and its validity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateDays {
    /// The file as the node file names it.
    pub file: String,
    /// Whole days until it ends, negative once it has; or why that cannot be told.
    pub days: Result<i64, String>,
}

/// The node's own certificate and the authorities. A node without a network has none that matter.
pub fn certificate_days(settings: &Settings) -> Vec<CertificateDays> {
    let p2p = &settings.config.p2p;
    if p2p.listen.is_none() {
        return Vec::new();
    }
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let files = std::iter::once(&p2p.certificate).chain(&p2p.ca);
    files
        .map(|file| CertificateDays { file: file.display().to_string(), days: days_left(&settings.path(file), now_s) })
        .collect()
}

/// Of the first certificate in a file, which is the one that speaks for its owner.
fn days_left(file: &Path, now_s: u64) -> Result<i64, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let certificate = pki::from_pem(first(&text)).map_err(|error| error.to_string())?;
    Ok(pki::days_left(pki::not_after_s(&certificate), now_s))
}

fn first(pem: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----";
    pem.find(END).map_or(pem, |at| &pem[..at + END.len()])
}

pub(super) fn check(settings: &Settings) -> Option<Check> {
    let all = certificate_days(settings);
    let verdict = all.iter().map(judge).max_by_key(|verdict| *verdict as u8)?;
    let texts: Vec<String> = all
        .iter()
        .map(|certificate| match &certificate.days {
            Ok(days) if *days < 0 => format!("{} ended {} days ago; have a new one issued", certificate.file, -days),
            Ok(days) => format!("{} is valid for {days} days", certificate.file),
            Err(error) => format!("{}: {error}", certificate.file),
        })
        .collect();
    Some(Check::new("certificates", verdict, texts.join("; ")))
}

fn judge(certificate: &CertificateDays) -> Verdict {
    match certificate.days {
        Ok(days) if days >= WARNING_DAYS => Verdict::Good,
        Ok(days) if days >= 0 => Verdict::Warn,
        _ => Verdict::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bixi_network::pki::{CertificateParams, Role};

    const DAY_S: i64 = 86_400;
    const NOW_S: u64 = 1_800_000_000;

    /// A certificate that ends so many seconds from `NOW_S`; nobody looks at its signature here.
    fn certificate(in_s: i64) -> String {
        let params = CertificateParams {
            suite: bixi_types::CryptoSuite::Sm,
            role: Role::Node,
            subject: "CN=node0".into(),
            issuer: "CN=CA".into(),
            serial: [0x41; 16],
            not_before_s: 0,
            not_after_s: NOW_S.saturating_add_signed(in_s),
        };
        let key = bixi_accel::sm2::PrivateKey::from_bytes(&[7; 32]).unwrap().public_key().to_bytes();
        pki::to_pem(&pki::issue(&params, &key, &key, |_| Ok([1; 64])).unwrap()).unwrap()
    }

    #[test]
    fn days_are_counted_down_and_past_the_end() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("node.crt");
        let days = |text: String| {
            std::fs::write(&file, text).unwrap();
            days_left(&file, NOW_S)
        };
        for (seconds, expected) in [(0, 0), (DAY_S - 1, 0), (40 * DAY_S, 40), (-1, -1), (-DAY_S - 1, -2)] {
            assert_eq!(days(certificate(seconds)), Ok(expected), "{seconds}");
        }
        // Its own comes first in a chain.
        assert_eq!(days(certificate(DAY_S) + &certificate(9 * DAY_S)), Ok(1));
        assert!(days("no certificate".into()).is_err());
        assert!(days_left(&place.path().join("absent"), NOW_S).is_err());
    }

    #[test]
    fn an_end_that_comes_near_is_a_warning_and_one_that_has_passed_is_bad() {
        for (days, verdict) in [(30, Verdict::Good), (29, Verdict::Warn), (0, Verdict::Warn), (-1, Verdict::Bad)] {
            let certificate = CertificateDays { file: "conf/node.crt".into(), days: Ok(days) };
            assert_eq!(judge(&certificate), verdict, "{days}");
        }
        assert_eq!(judge(&CertificateDays { file: "x".into(), days: Err("absent".into()) }), Verdict::Bad);
    }
}

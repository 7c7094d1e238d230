use std::path::Path;

use super::files::Kept;
use super::*;

#[test]
fn names_tell_what_a_file_is_to_be() {
    use bixi_sealed::Purpose;
    let cases = [
        ("guard", Kept::Log(Purpose::Guard)),
        ("guard.lock", Kept::Other { is_sealed: false }),
        ("audit/audit-000001.log", Kept::Log(Purpose::Audit)),
        ("ordering/000000000003.log", Kept::Log(Purpose::ConsensusLog)),
        ("ordering/LOCK", Kept::Other { is_sealed: false }),
        ("ledger/000009.sst", Kept::Database),
        ("ledger/000009.sst.resealed", Kept::Spare),
        ("ledger/000010.dbtmp", Kept::Spare),
        ("ledger.joining/CURRENT", Kept::Database),
        ("ledger.damaged/000009.sst", Kept::Other { is_sealed: true }),
        ("elsewhere/000009.sst", Kept::Other { is_sealed: true }),
        ("vault", Kept::Other { is_sealed: false }),
        ("vault.tmp", Kept::Spare),
    ];
    for (path, kept) in cases {
        assert_eq!(expected_of(Path::new(path)), kept, "{path}");
    }
}

#[test]
fn all_threads_together_keep_the_pace_and_what_was_slower_is_not_made_up_for() {
    let (pace, ms) = (Pace::new(Some(1_000)), Duration::from_millis);
    let begin = Instant::now() + ms(1);
    assert_eq!(pace.did_at(begin, 500), ms(500));
    assert_eq!(pace.did_at(begin, 500), ms(1_000));
    assert_eq!(pace.did_at(begin + ms(200), 100), ms(900));
    assert_eq!(pace.did_at(begin + ms(60_000), 500), ms(500));
    assert_eq!(Pace::new(None).did(u64::MAX), Duration::ZERO);
}

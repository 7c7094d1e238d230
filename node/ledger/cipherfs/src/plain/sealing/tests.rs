use std::sync::Arc;

use bixi_platform::io::{MemoryDisk, Storage as _};
use bixi_platform::secret::Secret;
use bixi_sealed::pages::PageSize;
use bixi_sealed::{AtRest, KeyRing};

use super::*;

/// One that is authentic and says something else, or less, or more.
#[test]
fn a_copy_is_held_against_every_byte_of_what_it_is_of() {
    let (disk, dir) = (MemoryDisk::new(), Path::new("/db/sealing"));
    disk.create_dir_all(dir).unwrap();
    let ring = KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[1; 32]))], 1).unwrap();
    let fs = SealedFs::new(Arc::new(disk.clone()), ring, PageSize::default());
    let content: Vec<u8> = (0..2 * CHUNK_BYTES + 5).map(|i| (i / 7) as u8).collect();
    for name in ["000007.log", "000009.sst", "CURRENT"] {
        let (path, copy) = (Path::new("/db").join(name), dir.join(name));
        disk.open(&path, OpenMode::CreateNew).unwrap().write_at(0, &content).unwrap();
        let from = disk.open(&path, OpenMode::Read).unwrap();
        let is_equal = |copied: &[u8]| {
            let to = fs.create(&copy).unwrap();
            to.append(copied).unwrap();
            to.close().unwrap();
            let mut go_on = |_: &Sealing| ControlFlow::Continue(());
            let mut step = Step::new(0, &mut go_on);
            match fs.compare(&*from, content.len() as u64, &path, &copy, &mut step) {
                Ok(is_done) => is_done,
                Err(CipherFsError::Differs { path: named }) => {
                    assert_eq!(named, path);
                    false
                }
                Err(error) => panic!("{error}"),
            }
        };
        assert!(is_equal(&content), "{name}");
        for place in [0, CHUNK_BYTES - 1, CHUNK_BYTES, content.len() - 1] {
            let mut other = content.clone();
            other[place] ^= 1;
            assert!(!is_equal(&other), "{name}: {place}");
        }
        let longer = [&content[..], &[0]].concat();
        assert!(!is_equal(&content[..content.len() - 1]) && !is_equal(&longer) && !is_equal(&[]), "{name}");
    }
}

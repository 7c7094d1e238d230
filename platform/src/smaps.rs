//! What the kernel says of a mapping, for tests.

/// Fields of the mapping that holds `address`, from `/proc/self/smaps`.
pub(crate) fn mapping_of(address: usize) -> String {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut found = String::new();
    let mut inside = false;
    for line in smaps.lines() {
        if let Some((start, rest)) = line.split_once('-')
            && let Ok(start) = usize::from_str_radix(start, 16)
        {
            let end = usize::from_str_radix(rest.split(' ').next().unwrap(), 16).unwrap();
            inside = (start..end).contains(&address);
        }
        if inside {
            found.push_str(line);
            found.push('\n');
        }
    }
    found
}

use std::path::Path;

use super::*;
use crate::NodeConfig;

fn parse(text: &str) -> Result<P2p, String> {
    NodeConfig::parse(Path::new("bixi.toml"), text).map(|config| config.p2p).map_err(|errors| errors.to_string())
}

#[test]
fn a_file_without_the_section_is_a_chain_of_one() {
    assert_eq!(parse("name = \"old\"\n").unwrap(), P2p::default());
    assert_eq!(P2p::default().listen, None);
    assert_eq!(parse("[p2p]\nlisten = \"\"\n").unwrap(), P2p::default());
}

#[test]
fn rendering_reads_back_unchanged() {
    let p2p = P2p {
        listen: Some("[::]:30300".parse().unwrap()),
        peers: vec!["10.0.0.2:30300".into(), "[fd00::3]:30301".into(), "node-4.example:1".into()],
        ca: vec!["conf/ca.crt".into(), "conf/a \"second\" ca.crt".into()],
        certificate: "conf/other.crt".into(),
        crl: vec!["conf/revoked.crl".into()],
        allow: vec![NodeId([1; 64]), NodeId([2; 64])],
        deny: vec![NodeId([3; 64])],
    };
    let config = NodeConfig { p2p: p2p.clone(), ..NodeConfig::default() };
    assert_eq!(parse(&config.render()).unwrap(), p2p);
}

#[test]
fn every_fault_of_the_section_is_told_at_its_entry() {
    let told = parse(
        "[p2p]\nlisten = \"30300\"\npeers = [\n\"10.0.0.2\",\n\"10.0.0.3:30300\",\n7]\nca = \"ca.pem\"\ncrl = [\"\"]\nallow = [\"12ab\"]\ndney = []\n",
    )
    .unwrap_err();
    let expected = [
        "bixi.toml:2: p2p.listen: expected an address and port such as \"0.0.0.0:30300\", or \"\" for a chain of one, found the string \"30300\"",
        "bixi.toml:4: p2p.peers[0]: expected another node's address such as \"10.0.0.2:30300\", found the string \"10.0.0.2\"",
        "bixi.toml:6: p2p.peers[2]: expected another node's address such as \"10.0.0.2:30300\", found the integer 7",
        "bixi.toml:7: p2p.ca: expected an array, each entry the path of a PEM file; found the string \"ca.pem\"",
        "bixi.toml:8: p2p.crl[0]: expected the path of a PEM file, found the string \"\"",
        "bixi.toml:9: p2p.allow[0]: expected a node id of 128 hexadecimal digits, as `bixi chain keys` prints it, found the string \"12ab\"",
        "bixi.toml:10: p2p.dney: unknown key; did you mean `deny`?",
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn keys_that_contradict_each_other_are_refused_with_a_way_out() {
    let told = parse("[p2p]\npeers = [\"a:1\"]\n").unwrap_err();
    assert!(told.starts_with("bixi.toml:2: p2p.peers: ") && told.contains("p2p.listen"), "{told}");
    let told = parse("[p2p]\nlisten = \"0.0.0.0:1\"\nca = []\n").unwrap_err();
    assert!(told.starts_with("bixi.toml:3: p2p.ca: ") && told.contains("name the CA's certificate"), "{told}");
    let told = parse("[p2p]\nlisten = \"0.0.0.0:1\"\npeers = [\"a:1\", \"b:1\", \"a:1\"]\n").unwrap_err();
    assert!(told.contains("\"a:1\" stands twice"), "{told}");
    let id = NodeId([5; 64]).to_hex();
    let told = parse(&format!("[p2p]\nallow = [\"{id}\"]\ndeny = [\"{id}\"]\n")).unwrap_err();
    assert!(told.starts_with("bixi.toml:3: p2p.deny: ") && told.contains("p2p.allow"), "{told}");
}

#[test]
fn a_list_is_bounded() {
    let peers = |count: usize| -> String { (0..count).map(|index| format!("\"h{index}:1\",")).collect() };
    let text = |count| format!("[p2p]\nlisten = \"0.0.0.0:1\"\npeers = [{}]\n", peers(count));
    assert_eq!(parse(&text(ENTRIES_MAX)).unwrap().peers.len(), ENTRIES_MAX);
    let told = parse(&text(ENTRIES_MAX + 1)).unwrap_err();
    assert!(told.contains("at most 1024 entries, found 1025"), "{told}");
}

#[test]
fn peer_addresses_are_host_and_port() {
    for good in ["10.0.0.1:30300", "localhost:1", "a_b.example-1.org:65535", "[::1]:5"] {
        assert!(is_peer_address(good), "{good}");
    }
    for bad in
        ["", ":1", "a", "a:", "a:0", "a:65536", "a:+5", "::1:5", "[::1]", "[x]:5", "a b:1", "a/b:1", "http://a:1"]
    {
        assert!(!is_peer_address(bad), "{bad}");
    }
}

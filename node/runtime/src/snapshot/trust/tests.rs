use bixi_accel::sm2;
use bixi_hsm::soft::SoftDevice;
use bixi_hsm::{KeyDevice, KeyKind, KeyRef, KeySpec};
use bixi_types::header::{HeaderSignature, ParentInfo};

use super::*;

const SUITE: CryptoSuite = CryptoSuite::Sm;

/// Nodes that can sign.
struct Nodes {
    device: SoftDevice,
    keys: Vec<(NodeId, KeyRef)>,
}

impl Nodes {
    /// Sorted by id, as in a set.
    fn new(count: usize) -> Self {
        let device = SoftDevice::seeded("trust", 3);
        let mut keys: Vec<(NodeId, KeyRef)> = (0..count)
            .map(|index| {
                let key = device.generate(&KeySpec::new(format!("k{index}"), KeyKind::Sm2Sign)).unwrap();
                (NodeId(device.public_key(&key).unwrap()), key)
            })
            .collect();
        keys.sort_by_key(|(node, _)| *node);
        Self { device, keys }
    }

    fn sign(&self, place: usize, hash: &H256) -> Vec<u8> {
        let (node, key) = &self.keys[place];
        let z = sm2::identity_digest(sm2::DEFAULT_ID, &sm2::PublicKey::from_bytes(&node.0).unwrap());
        self.device.sign_digest(key, &sm2::message_digest(&z, &hash.0)).unwrap().to_vec()
    }

    /// The header above `parent`, with these validators of weight one.
    fn above(&self, parent: &BlockHeader, members: &[usize]) -> BlockHeader {
        BlockHeader {
            version: 1,
            parent_info: vec![ParentInfo { number: parent.number, hash: parent.hash(SUITE) }],
            number: parent.number + 1,
            gas_used: "21000".into(),
            timestamp: parent.timestamp + 1,
            sealer_list: members.iter().map(|place| self.keys[*place].0).collect(),
            consensus_weights: vec![1; members.len()],
            extra_data: HeaderExtension::new(SUITE, H256([1; 32]), std::iter::empty()).encode(),
            ..BlockHeader::default()
        }
    }

    /// The same header, signed by these.
    fn signed(&self, header: BlockHeader, signers: &[usize]) -> BlockHeader {
        let hash = header.hash(SUITE);
        let entry = |place: &usize| {
            let node = self.keys[*place].0;
            let listed = header.sealer_list.iter().position(|member| *member == node).expect("a member");
            HeaderSignature { sealer_index: listed as i64, signature: self.sign(*place, &hash) }
        };
        BlockHeader { signature_list: signers.iter().map(entry).collect(), ..header }
    }

    fn genesis(&self, members: &[usize]) -> BlockHeader {
        let list = self.above(&BlockHeader::default(), members);
        BlockHeader { number: 0, parent_info: Vec::new(), extra_data: vec![7; 32], ..list }
    }
}

fn is_refused(walk: &mut Walk, headers: &[BlockHeader], words: &str) {
    let before = walk.number();
    let reason = walk.extend(headers).expect_err(words);
    assert!(reason.contains(words), "{reason}, not {words}");
    assert_eq!(walk.number(), before, "all or none");
}

#[test]
fn a_chain_is_believed_through_changes_of_its_set() {
    let nodes = Nodes::new(7);
    let genesis = nodes.genesis(&[0, 1, 2, 3]);
    let mut walk = Walk::from(&genesis, SUITE).unwrap();
    let sets: [&[usize]; 5] = [&[0, 1, 2, 3], &[0, 1, 2, 3, 4], &[1, 2, 3, 4], &[1, 2, 3, 4, 5, 6], &[3, 4, 5, 6]];
    let mut headers = vec![genesis];
    for set in sets {
        for _ in 0..2 {
            let header = nodes.above(headers.last().unwrap(), set);
            headers.push(nodes.signed(header, &set[set.len() - (set.len() * 2 / 3 + 1)..]));
        }
    }
    walk.extend(&headers[1..4]).unwrap();
    walk.extend(&[]).unwrap();
    walk.extend(&headers[4..]).unwrap();
    assert_eq!(walk.number(), 10);
}

#[test]
fn a_set_that_the_one_before_did_not_sign_for_is_refused() {
    let nodes = Nodes::new(8);
    let genesis = nodes.genesis(&[0, 1, 2, 3]);
    let mut walk = Walk::from(&genesis, SUITE).unwrap();
    // A liar's own set, and one with a single validator of the set before.
    for (set, signers) in [(vec![4, 5, 6, 7], vec![4, 5, 6, 7]), (vec![3, 4, 5, 6], vec![3, 4, 5]), (vec![0], vec![0])]
    {
        let header = nodes.signed(nodes.above(&genesis, &set), &signers);
        is_refused(&mut walk, &[header], "of those before");
    }
    // Members of the set before who are in the new one but did not sign count nothing.
    let header = nodes.signed(nodes.above(&genesis, &[0, 1, 4, 5, 6, 7]), &[1, 4, 5, 6, 7]);
    is_refused(&mut walk, &[header], "of those before");
    let header = nodes.signed(nodes.above(&genesis, &[0, 1, 4, 5]), &[0, 1, 5]);
    walk.extend(&[header]).unwrap();
}

#[test]
fn headers_without_their_quorum_are_refused() {
    let nodes = Nodes::new(5);
    let set = [0, 1, 2, 3];
    let genesis = nodes.genesis(&set);
    let mut walk = Walk::from(&genesis, SUITE).unwrap();
    let first = nodes.signed(nodes.above(&genesis, &set), &[0, 1, 3]);
    let second = nodes.above(&first, &set);
    is_refused(&mut walk, &[nodes.signed(nodes.above(&genesis, &set), &[0, 1])], "weight 2 of at least 3");
    is_refused(&mut walk, &[first.clone(), nodes.signed(second.clone(), &[0, 0, 1])], "twice");
    let mut spoilt = nodes.signed(second.clone(), &[0, 1, 2]);
    spoilt.signature_list[1].signature[9] ^= 1;
    is_refused(&mut walk, &[first.clone(), spoilt], "does not hold");
    let mut others = nodes.signed(second.clone(), &[0, 1, 2]);
    others.signature_list[0].sealer_index = 3;
    is_refused(&mut walk, &[first.clone(), others], "does not hold");
    let mut beyond = nodes.signed(second.clone(), &[0, 1, 2]);
    beyond.signature_list[0].sealer_index = 4;
    is_refused(&mut walk, &[first.clone(), beyond], "damaged");
    let mut short = nodes.signed(second.clone(), &[0, 1, 2]);
    short.signature_list[0].signature.pop();
    is_refused(&mut walk, &[first.clone(), short], "damaged");
    walk.extend(&[first, nodes.signed(second, &[0, 1, 2])]).unwrap();
}

#[test]
fn headers_that_do_not_follow_or_read_in_two_ways_are_refused() {
    let nodes = Nodes::new(4);
    let set = [0, 1, 2, 3];
    let genesis = nodes.genesis(&set);
    let mut walk = Walk::from(&genesis, SUITE).unwrap();
    let good = nodes.above(&genesis, &set);
    type Edit = fn(&mut BlockHeader);
    let edits: [(&str, Edit); 12] = [
        ("another header", |header| header.parent_info[0].hash = H256([1; 32])),
        ("over 5", |header| header.parent_info[0].number = 5),
        ("says height 2", |header| header.number = 2),
        ("0 parents", |header| header.parent_info.clear()),
        ("2 parents", |header| header.parent_info.push(ParentInfo::default())),
        ("no decimal number", |header| header.gas_used = "0x5208".into()),
        ("no decimal number", |header| header.gas_used.clear()),
        ("no decimal number", |header| header.gas_used = "1".repeat(40)),
        ("extension", |header| header.extra_data.push(0)),
        ("with 3 weights", |header| header.consensus_weights.truncate(3)),
        ("not in order", |header| header.sealer_list.swap(0, 1)),
        ("no validator has", |header| header.consensus_weights[2] = 0),
    ];
    for (words, edit) in edits {
        let mut header = good.clone();
        edit(&mut header);
        is_refused(&mut walk, &[nodes.signed(header, &set)], words);
    }
    walk.extend(&[nodes.signed(good, &set)]).unwrap();
}

#[test]
fn a_header_cut_into_other_fields_is_refused_although_its_hash_is_signed() {
    let nodes = Nodes::new(4);
    let set = [0, 1, 2, 3];
    let genesis = nodes.genesis(&set);
    let mut walk = Walk::from(&genesis, SUITE).unwrap();
    let good = nodes.signed(nodes.above(&genesis, &set), &[0, 1, 2]);
    // The last validator becomes the beginning of the extension, the first weight its end: three of three have signed.
    let mut cut = good.clone();
    let last = cut.sealer_list.pop().unwrap();
    let weight = cut.consensus_weights.remove(0);
    cut.extra_data = [&last.0[..], &good.extra_data, &weight.to_be_bytes()].concat();
    assert_eq!(cut.hash(SUITE), good.hash(SUITE));
    is_refused(&mut walk, &[cut], "extension");
    walk.extend(&[good]).unwrap();
}

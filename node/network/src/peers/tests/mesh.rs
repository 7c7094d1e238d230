//! Networks that find each other, exchange, lose each other and come back.

use bixi_types::CryptoSuite;
use bixi_types::ports::Destination;

use super::world::{Member, OFFENCE, SLOW, Seen, eventually, noted, notes, runtime};
use crate::peers::{Channel, Network, RefusalKind};
use crate::tls::fixtures::{Authority, in_both_suites};

fn consortium(suite: CryptoSuite, count: u8) -> Vec<Member> {
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    (2..2 + count).map(|serial| Member::of(&ca, serial)).collect()
}

/// Sends from `from` on both channels until everybody else has it.
fn reaches_all(members: &[Member], networks: &[Network], from: usize, word: &[u8]) {
    for channel in Channel::ALL {
        let seen = Seen::Received(members[from].node, channel, word.to_vec());
        eventually("a broadcast reaches everybody", || {
            networks[from].send_on(channel, Destination::Broadcast, word.to_vec());
            let mut others = members.iter().enumerate().filter(|(index, _)| *index != from);
            others.all(|(_, member)| member.inbox.has(&seen))
        });
    }
}

/// Both ends hold one and the same connection for each channel.
fn agree(one: &Network, other: &Network) -> bool {
    let sessions = |of: &Network, with: &Network| {
        let node = with.0.shared.local.node;
        let peer = of.peers().into_iter().find(|peer| peer.node == Some(node));
        peer.map(|peer| peer.sessions).unwrap_or_default()
    };
    let (ours, theirs) = (sessions(one, other), sessions(other, one));
    let pairs = ours.iter().zip(&theirs);
    ours.len() == 2 && theirs.len() == 2 && pairs.into_iter().all(|(our, their)| our.direction != their.direction)
}

fn four_networks_that_all_call_each_other_mesh_and_exchange_on_both_channels(suite: CryptoSuite) {
    let members = consortium(suite, 4);
    let runtime = runtime();
    let networks: Vec<Network> = members.iter().map(|member| member.start(&runtime, &[])).collect();
    // The own address too: found out.
    let addresses: Vec<String> = networks.iter().map(|network| network.address().to_string()).collect();
    networks.iter().for_each(|caller| caller.call_only(&addresses));
    for (index, one) in networks.iter().enumerate() {
        for (other, member) in networks.iter().zip(&members).skip(index + 1) {
            eventually("a pair holds one connection for each channel", || agree(one, other));
            assert!(one.peers().iter().any(|peer| peer.node == Some(member.node)));
        }
    }
    for from in 0..members.len() {
        reaches_all(&members, &networks, from, &[from as u8; 1000]);
    }
    reaches_all(&members, &networks, 0, &vec![7; bixi_types::limits::MESSAGE_BYTES_MAX]);
    for (network, member) in networks.iter().zip(&members) {
        eventually("every peer was announced", || {
            members.iter().filter(|other| other.node != member.node).all(|other| member.inbox.is_connected(other.node))
        });
        eventually("a ping was answered", || {
            network.peers().iter().flat_map(|peer| &peer.sessions).all(|session| session.rtt.is_some())
        });
        eventually("every address leads to a peer, and the own one to nobody", || network.peers().len() == 3);
    }
    let one = Destination::Node(members[1].node);
    // Its queue may be full of what was broadcast.
    eventually("its queue takes it", || networks[0].send_on(Channel::Bulk, one, b"to one".to_vec()) == 1);
    let seen = Seen::Received(members[0].node, Channel::Bulk, b"to one".to_vec());
    eventually("it arrives", || members[1].inbox.has(&seen));
    assert!(!members[2].inbox.has(&seen) && !members[3].inbox.has(&seen));
    networks.iter().for_each(Network::stop);
}

fn addresses_can_be_called_and_left_alone_while_it_runs(suite: CryptoSuite) {
    let members = consortium(suite, 3);
    let runtime = runtime();
    let networks: Vec<Network> = members.iter().map(|member| member.start(&runtime, &[])).collect();
    let address = |of: usize| networks[of].address().to_string();
    let meets = |of: usize| members[0].inbox.is_connected(members[of].node);
    networks[0].call_only(&[address(1)]);
    eventually("the first is called", || meets(1));
    // What stands stays, though its address is called no more.
    networks[0].call_only(&[address(2)]);
    eventually("the second is called", || meets(2));
    assert!(meets(1));
    members[1].admission.denied.lock().push(members[0].node);
    networks[1].recheck();
    eventually("the first has gone", || !meets(1));
    eventually("its address is forgotten", || networks[0].peers().iter().all(|peer| peer.address != address(1)));
    members[1].admission.denied.lock().clear();
    networks[0].call_only(&[address(1), address(2)]);
    eventually("the first is called again", || meets(1));
    let refused = networks[0].refused();
    let kind = RefusalKind { by: "other", reason: "not_admitted" };
    assert!(refused.get(&kind).is_some_and(|count| *count > 0), "{refused:?}");
    networks.iter().for_each(Network::stop);
}

fn a_killed_node_is_noticed_and_comes_back(suite: CryptoSuite) {
    let members = consortium(suite, 3);
    let stays = runtime();
    let mut networks = vec![members[0].start(&stays, &[])];
    networks.push(members[1].start(&stays, &[&networks[0]]));
    let dies = runtime();
    networks.push(members[2].start(&dies, &[&networks[0], &networks[1]]));
    reaches_all(&members, &networks, 2, b"before");

    // Without a word: its sockets are closed by the system.
    drop(networks.pop());
    dies.shutdown_background();
    for member in &members[..2] {
        eventually("it is missed", || !member.inbox.is_connected(members[2].node));
    }
    // It is missed when the first of its two sessions is lost.
    eventually("nothing is queued for it", || {
        networks[0].send_on(Channel::Consensus, Destination::Node(members[2].node), vec![1]) == 0
    });

    let again = members[2].start(&stays, &[&networks[0], &networks[1]]);
    networks.push(again);
    for member in &members[..2] {
        eventually("it is back", || member.inbox.is_connected(members[2].node));
    }
    for from in 0..members.len() {
        reaches_all(&members, &networks, from, b"after");
    }
    networks.iter().for_each(Network::stop);
}

fn an_offence_ends_the_session_with_its_reason_on_both_sides_and_the_caller_calls_again(suite: CryptoSuite) {
    let members = consortium(suite, 2);
    let runtime = runtime();
    let called = members[0].start(&runtime, &[]);
    let caller = members[1].start(&runtime, &[&called]);
    let networks = [called, caller];
    reaches_all(&members, &networks, 1, b"before");
    networks[1].send_on(Channel::Bulk, Destination::Broadcast, OFFENCE.to_vec());
    notes(&networks[0], &["refused by this node", "a vote signed by nobody"]);
    notes(&networks[1], &["refused by the other node", "a vote signed by nobody"]);
    reaches_all(&members, &networks, 1, b"after");
    networks.iter().for_each(Network::stop);
}

fn slow_layers_above_hold_up_one_connection_only(suite: CryptoSuite) {
    let members = consortium(suite, 4);
    let runtime = runtime();
    let slow = members[0].start(&runtime, &[]);
    let callers: Vec<Network> = members[1..].iter().map(|member| member.start(&runtime, &[&slow])).collect();
    let inbox = &members[0].inbox;
    for member in &members[1..] {
        eventually("all are connected", || inbox.is_connected(member.node));
    }
    let held = inbox.slow.lock();
    // As many as the runtime has workers.
    for caller in &callers[..2] {
        eventually("work is sent", || caller.send_on(Channel::Bulk, Destination::Broadcast, SLOW.to_vec()) == 1);
    }
    for (caller, member) in callers.iter().zip(&members[1..]) {
        let seen = Seen::Received(member.node, Channel::Consensus, b"a vote".to_vec());
        eventually("consensus goes on", || {
            caller.send_on(Channel::Consensus, Destination::Broadcast, b"a vote".to_vec());
            inbox.has(&seen)
        });
    }
    let done = |member: &Member| inbox.has(&Seen::Received(member.node, Channel::Bulk, SLOW.to_vec()));
    assert!(!members[1..3].iter().any(done));
    drop(held);
    for member in &members[1..3] {
        eventually("the work is done", || done(member));
    }
    callers.iter().chain([&slow]).for_each(Network::stop);
}

fn a_node_that_stops_says_so_and_leaves_nothing_behind(suite: CryptoSuite) {
    let members = consortium(suite, 2);
    let runtime = runtime();
    let networks = [members[0].start(&runtime, &[]), members[1].start(&runtime, &[])];
    networks[0].call_only(&[networks[1].address().to_string()]);
    reaches_all(&members, &networks, 0, b"a word");
    networks[1].stop();
    assert_eq!(networks[1].0.shared.tasks.join(std::time::Duration::ZERO), 0, "no task is left");
    assert!(networks[1].peers().iter().all(|peer| peer.sessions.is_empty()));
    eventually("the other one has noticed", || !members[0].inbox.is_connected(members[1].node));
    let told = |network: &Network| noted(network, &["Stopping"]);
    assert!(!told(&networks[0]) && !told(&networks[1]), "an orderly stop is no refusal");
    networks[0].stop();
}

in_both_suites!(
    four_networks_that_all_call_each_other_mesh_and_exchange_on_both_channels,
    addresses_can_be_called_and_left_alone_while_it_runs,
    a_killed_node_is_noticed_and_comes_back,
    an_offence_ends_the_session_with_its_reason_on_both_sides_and_the_caller_calls_again,
    slow_layers_above_hold_up_one_connection_only,
    a_node_that_stops_says_so_and_leaves_nothing_behind,
);

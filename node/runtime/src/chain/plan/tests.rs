use super::*;

fn places(nodes: &str) -> Places {
    Places { members: nodes.parse().unwrap(), p2p_port: 30300, rpc_listen: SocketAddr::from(([127, 0, 0, 1], 20200)) }
}

fn seated(nodes: &str) -> Vec<Seat> {
    seats(&places(nodes), &[]).unwrap()
}

fn refused(places: &Places, taken: &[&str]) -> String {
    let taken: Vec<String> = taken.iter().map(ToString::to_string).collect();
    seats(places, &taken).unwrap_err().to_string()
}

fn addresses(seats: &[Seat]) -> Vec<&str> {
    seats.iter().map(|seat| seat.p2p.as_ref().map_or("none", |(address, _)| address.as_str())).collect()
}

fn rpc_ports(seats: &[Seat]) -> Vec<u16> {
    seats.iter().map(|seat| seat.rpc.port()).collect()
}

#[test]
fn one_node_alone_has_no_network() {
    assert_eq!(seated("1"), [Seat { p2p: None, rpc: SocketAddr::from(([127, 0, 0, 1], 20200)) }]);
    // One that is given an address waits for others.
    assert_eq!(addresses(&seated("10.0.0.1:30300")), ["10.0.0.1:30300"]);
}

#[test]
fn a_count_is_that_many_ports_of_this_machine() {
    let made = seated("4");
    assert_eq!(addresses(&made), ["127.0.0.1:30300", "127.0.0.1:30301", "127.0.0.1:30302", "127.0.0.1:30303"]);
    assert_eq!(rpc_ports(&made), [20200, 20201, 20202, 20203]);
    assert_eq!(made[3].p2p.as_ref().unwrap().1, "127.0.0.1:30303".parse().unwrap());
}

#[test]
fn every_machine_counts_its_own_rpc_ports() {
    let made = seated("10.0.0.1:30300,10.0.0.2:30300,10.0.0.1:30301,NODE-B:5,node-b:6");
    assert_eq!(rpc_ports(&made), [20200, 20200, 20201, 20200, 20201]);
    let listen: Vec<String> = made.iter().map(|seat| seat.p2p.as_ref().unwrap().1.to_string()).collect();
    assert_eq!(listen, ["0.0.0.0:30300", "0.0.0.0:30300", "0.0.0.0:30301", "0.0.0.0:5", "0.0.0.0:6"]);
    assert_eq!(seated("[fd00::1]:7")[0].p2p.as_ref().unwrap().1, "[::]:7".parse().unwrap());
}

#[test]
fn rpc_ports_step_over_those_of_p2p() {
    assert_eq!(rpc_ports(&seated("127.0.0.1:20200,localhost:20202,127.5.5.5:20203")), [20201, 20204, 20205]);
    let chosen_by_the_system = Places { rpc_listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..places("2") };
    assert_eq!(rpc_ports(&seats(&chosen_by_the_system, &[]).unwrap()), [0, 0]);
}

#[test]
fn new_nodes_go_behind_those_that_are_there() {
    let taken = ["127.0.0.1:30300".to_owned(), "127.0.0.1:30302".to_owned()];
    let made = seats(&places("2"), &taken).unwrap();
    assert_eq!(addresses(&made), ["127.0.0.1:30301", "127.0.0.1:30303"]);
    assert_eq!(rpc_ports(&made), [20202, 20203]);
    let told = refused(&places("1"), &["10.0.0.1:30300"]);
    assert!(told.contains("10.0.0.1:30300 is not on this machine"), "{told}");
}

#[test]
fn collisions_and_ports_that_do_not_suffice_are_told() {
    for twice in ["10.0.0.1:5,10.0.0.1:5", "localhost:5,127.0.0.1:5", "Node:5,node:05"] {
        assert!(refused(&places(twice), &[]).contains("two nodes are to be found at"), "{twice}");
    }
    assert!(refused(&places("a:5"), &["a:5"]).contains("two nodes"));
    let high = Places { p2p_port: 65534, ..places("3") };
    assert!(refused(&high, &[]).contains("--p2p-port"));
    let high = Places { rpc_listen: SocketAddr::from(([127, 0, 0, 1], 65534)), ..places("3") };
    assert!(refused(&high, &[]).contains("--rpc-port"));
}

#[test]
fn a_chain_has_between_one_and_thirty_one_nodes() {
    assert_eq!(seated("31").len(), NODES_MAX);
    assert!(refused(&places("32"), &[]).contains("32 nodes are more than the 31"));
    assert!(refused(&places("0"), &[]).contains("at least one"));
    assert!(refused(&places("30"), &["127.0.0.1:1", "127.0.0.1:2"]).contains("32 nodes are more than the 31"));
    assert!("99999999999999999999999".parse::<Members>().unwrap_err().contains("more than the 31"));
}

#[test]
fn what_is_no_address_is_told_as_it_was_written() {
    for (text, wrong) in [
        ("", "\"\""),
        ("-1", "\"-1\""),
        ("a:1,", "\"\""),
        ("a:1,b", "\"b\""),
        ("a:0", "\"a:0\""),
        ("a:99999", "\"a:99999\""),
    ] {
        let told = text.parse::<Members>().unwrap_err();
        assert!(told.starts_with(wrong) && told.contains("host:port"), "{text}: {told}");
    }
}

#[test]
fn a_chain_may_have_a_loopback_address_of_its_own() {
    let hidden = Places { p2p_port: 0, ..places("4") };
    let made = seats(&hidden, &[]).unwrap();
    let listen: Vec<SocketAddr> = made.iter().map(|seat| seat.p2p.as_ref().unwrap().1).collect();
    assert!(listen[0].ip().is_loopback() && listen[0].ip() != IpAddr::from(Ipv4Addr::LOCALHOST), "{listen:?}");
    assert!(listen.iter().all(|address| address.ip() == listen[0].ip()), "{listen:?}");
    assert_eq!(listen.iter().map(SocketAddr::port).collect::<Vec<_>>(), [30300, 30301, 30302, 30303]);
    // Who joins comes to the same address.
    let taken: Vec<String> = made.iter().map(|seat| seat.p2p.as_ref().unwrap().0.clone()).collect();
    let joined = seats(&Places { p2p_port: 0, ..places("1") }, &taken).unwrap();
    assert_eq!(addresses(&joined), [SocketAddr::new(listen[0].ip(), 30304).to_string()]);
    assert_eq!(seats(&Places { p2p_port: 0, ..places("1") }, &[]).unwrap()[0].p2p, None);
}

use super::*;

#[test]
fn json_has_the_promised_fields_in_order() {
    let reasons = |names: Vec<&str>| {
        names.iter().map(|name| format!("\"{name}\":0")).collect::<Vec<_>>().join(",")
    };
    let drops = reasons(DropReason::ALL.iter().map(|r| r.name()).collect());
    let passes = reasons(PassReason::ALL.iter().map(|r| r.name()).collect());
    let notices = reasons(Notice::ALL.iter().map(|n| n.name()).collect());
    let expected = format!(
        "{{\"schema\":1,\"instance\":\"xlb\",\"mode\":{{\"eth0\":\"xdp\",\"eth1\":\"xdp-generic\"}},\
         \"generation\":3,\"uptime_s\":12.4,\"services\":[{{\"address\":\"10.64.1.2\",\"port\":10000,\
         \"protocol\":\"tcp\",\"fwmark\":null,\"group\":null,\"scheduler\":\"rr\",\"flags\":[],\
         \"kind\":\"NAT\",\"persistence_s\":10,\"quorum_up\":true,\"sorry_active\":false,\
         \"conns\":6,\"in_packets\":24,\"out_packets\":12,\"in_bytes\":1296,\"out_bytes\":672,\"reals\":[\
         {{\"address\":\"192.168.1.100\",\"port\":8089,\"weight\":1,\"effective_weight\":1,\
         \"health\":\"up\",\"health_reason\":\"\",\"since_s\":9.1,\"draining\":false,\
         \"active\":1,\"inactive\":2,\"conns\":2,\"in_packets\":8,\"out_packets\":4,\
         \"in_bytes\":432,\"out_bytes\":224}},\
         {{\"address\":\"192.168.1.101\",\"port\":18089,\"weight\":1,\"effective_weight\":0,\
         \"health\":\"down\",\"health_reason\":\"connection refused\",\"since_s\":9.1,\"draining\":false,\
         \"active\":1,\"inactive\":2,\"conns\":4,\"in_packets\":16,\"out_packets\":8,\
         \"in_bytes\":864,\"out_bytes\":448}}]}}],\
         \"drops\":{{{drops}}},\"passes\":{{{passes}}},\
         \"notices\":{{{notices}}},\
         \"tables\":{{\"established\":{{\"used\":3,\"capacity\":1048576}},\
         \"half_open\":{{\"used\":0,\"capacity\":0}},\
         \"templates\":{{\"used\":0,\"capacity\":0,\"refused\":0}},\
         \"fragments\":{{\"used\":0,\"capacity\":0}}}},\
         \"snat\":[{{\"address\":\"192.168.1.2\",\"used\":3,\"capacity\":64512}}]}}"
    );
    let report = sample();
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[test]
fn tally_keeps_names_it_does_not_know() {
    let tally: Tally = serde_json::from_str("{\"zeta\":2,\"alpha\":1}").unwrap();
    assert_eq!(tally.0, [("zeta".to_owned(), 2), ("alpha".to_owned(), 1)]);
    assert_eq!(tally.get("alpha"), Some(1));
    assert_eq!(tally.get("beta"), None);
    assert_eq!(Tally::of_drops(|r| u64::from(r.slot())).get("no_usable_real"), Some(129));
}

#[test]
fn names_are_those_of_the_configuration() {
    for kind in [model::Kind::Nat, model::Kind::FullNat, model::Kind::Dr, model::Kind::Tun] {
        assert_eq!(serde_json::to_value(Kind::from(kind)).unwrap(), kind.name());
    }
    for protocol in [model::Protocol::Tcp, model::Protocol::Udp, model::Protocol::Sctp] {
        assert_eq!(serde_json::to_value(Protocol::from(protocol)).unwrap(), protocol.name());
        assert_eq!(Protocol::from_number(protocol.number()), Some(protocol.into()));
    }
}

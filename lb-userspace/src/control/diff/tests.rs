use super::*;
use crate::config::model::Scheduler;
use crate::control::testing::{model, real, service};

#[test]
fn additions_removals_and_edits_are_named() {
    let old = model(vec![
        service(80, Scheduler::Rr, vec![real(1, 1), real(2, 1)]),
        service(81, Scheduler::Rr, vec![real(1, 1)]),
    ]);
    let mut new = model(vec![
        service(80, Scheduler::Wlc, vec![real(1, 3), real(3, 1)]),
        service(82, Scheduler::Rr, vec![real(1, 1)]),
    ]);
    new.virtual_servers[0].real_servers[0].checkers.clear();
    assert_eq!(
        lines(&old, &new),
        [
            "~ virtual_server 203.0.113.1:80 tcp: scheduler rr -> wlc",
            "~ real_server 192.0.2.1:80 of 203.0.113.1:80 tcp: weight 1 -> 3",
            "~ real_server 192.0.2.1:80 of 203.0.113.1:80 tcp: 1 checks -> 0",
            "+ real_server 192.0.2.3:80 of 203.0.113.1:80 tcp: weight 1, NAT",
            "- real_server 192.0.2.2:80 of 203.0.113.1:80 tcp",
            "+ virtual_server 203.0.113.1:82 tcp",
            "+ real_server 192.0.2.1:80 of 203.0.113.1:82 tcp: weight 1, NAT",
            "- real_server 192.0.2.1:80 of 203.0.113.1:81 tcp",
            "- virtual_server 203.0.113.1:81 tcp",
        ]
    );
    assert!(lines(&new, &new).is_empty());
}

//! Runs the end-to-end scenarios; `cargo test -p lb-tests --test e2e`.

use lb_tests::capability::{Capability, have};

macro_rules! scenarios {
    ($($file:ident: $($scenario:ident),* $(,)?;)*) => { $(
        mod $file {
            $(
                #[test]
                fn $scenario() -> anyhow::Result<()> {
                    if super::have(&[super::Capability::Bpf, super::Capability::Netns]) {
                        lb_tests::e2e::$file::$scenario()?;
                    }
                    Ok(())
                }
            )*
        }
    )* };
}

scenarios! {
    bare_host: fullnat_changes_no_setting, nat_changes_no_setting, other_ports_are_the_hosts;
    capture: a_connection_is_seen_before_and_after, fullnat_is_seen_both_ways, ipv6_is_seen_before_and_after, a_refused_packet_is_seen_with_its_reason,
        bounds_and_samples_hold, one_at_a_time_and_no_trace, a_transfer_does_not_notice, new_connections_do_not_notice,
        a_killed_client_ends_it, a_killed_daemon_leaves_forwarding, a_stop_with_keep_ends_it;
    churn: nat_two_arm, fullnat_two_arm, fullnat_one_arm;
    demo: the_demo_succeeds, an_interrupted_demo_cleans_up;
    direct: a_packet_waits_for_a_silent_server, two_arm, one_arm, streams, why_is_right, a_sorry_server_answers_itself;
    ending: a_clean_stop_leaves_nothing, detach_removes_what_kill_9_left;
    fragments: large_datagrams_pass_both_ways;
    health: tcp_check_takes_out_and_puts_back, all_down_refuses_at_once, a_live_connection_outlives_its_health;
    icmp: a_narrow_link_on_the_clients_side, a_narrow_link_on_the_real_servers_side, a_narrow_inner_link, a_narrow_outer_link,
        an_ended_time_to_live_is_told, a_refused_datagram_is_told, echo_is_answered, forged_errors_end_nothing;
    ipv6: nat_two_arm, fullnat_two_arm, a_silent_neighbour_is_asked, a_narrow_link_is_told, segments_are_lowered, echo_is_answered,
        why_is_right;
    laboratory: two_arms_are_wired, plain_routing_loses_no_connection, streams_are_intact, gateways_mark_their_requests, nothing_is_left;
    links: flows_resume_after_down_and_up, a_server_added_again_keeps_its_connections;
    modes: auto_takes_tc_where_offloads_are_on, auto_takes_xdp_where_the_wire_is_prepared, auto_takes_tc_where_the_driver_has_no_xdp,
        a_mode_change_drops_no_connection, a_tagged_frame_is_the_vlans, vlans_on_served_interfaces_forward, a_vlan_interface_forwards;
    mss: both_ends_are_told, half_made_checksums_stay_right;
    neighbours: the_first_packet_is_not_lost, the_first_connection_does_not_wait, a_changed_address_is_followed,
        a_changed_client_is_followed, an_emptied_table_loses_nothing, a_packet_waits_for_a_silent_server,
        a_packet_does_not_wait_for_ever;
    offloads: jumbo_frames, nat_streams, fullnat_streams, fullnat_on_one_arm_streams, files_by_http, datagrams, refusals_are_told,
        a_narrow_link_is_told, the_first_packet_is_not_lost;
    persistence: a_client_stays, a_client_is_free_after_the_timeout, granularity_binds_a_network, udp_clients_stay_too;
    port_reuse: nat_does_not_stall, fullnat_does_not_stall;
    refusal: a_bad_reload_changes_nothing, a_bad_start_attaches_nothing, a_missing_interface_is_named,
        nat_on_one_arm_is_refused, a_refused_start_leaves_a_living_data_path, a_foreign_program_stays, a_foreign_program_may_run_before_tc, a_socket_that_cannot_be_made_leaves_nothing,
        a_second_daemon_is_refused;
    reply_path: a_forged_answer_ends_nothing, any_path_lets_answers_in;
    scheduling: rr_gives_halves, wrr_follows_weights, sh_binds_a_client_to_a_server,
        dh_binds_a_virtual_address_to_a_server, lc_fills_the_emptier_server, wlc_follows_weights, weight_0_quiesces,
        two_virtual_servers_count_apart;
    survival: a_gigabyte_survives_reloads_and_kills, new_connections_survive_reloads_and_kills,
        the_next_run_adopts_what_kill_9_left, sums_keep_what_removed_servers_counted, keep_leaves_the_data_path;
    tcp: nat_two_arm, fullnat_two_arm, fullnat_one_arm;
    tunnels: ipip, gre, gue, gre_with_checksums, gue_with_checksums, large_packets_go_through, a_checksum_is_refused_in_tc,
        a_sorry_server_has_a_tunnel_of_its_own, why_is_right;
    udp: nat_two_arm, fullnat_two_arm, fullnat_one_arm;
    why: nat_is_foretold, weights_are_foretold, loads_are_foretold, fullnat_is_foretold, templates_are_foretold,
        a_known_flow_is_told, what_is_not_ours_is_told, nobody_left_is_told, what_keeps_a_server_out_is_told,
        questions_that_make_no_sense_are_refused;
}

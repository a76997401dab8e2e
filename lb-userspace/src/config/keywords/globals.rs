//! Rows of the top level, `global_defs`, `SSL` and the groups. keepalived-spec sections 4 to 6 and 12a.

use super::Block::{
    self, EmailList, GlobalDefs, Group, LocalGroup, Mark, Opaque, Ssl, Top, VirtualServer,
};
use super::{Keyword, row};

const TOP: &[Block] = &[Top];
const GLOBAL: &[Block] = &[GlobalDefs];
const SSL: &[Block] = &[Ssl];
const MARK: &[Block] = &[Mark];

const PARSER: &str = "core/global_parser.c";
const VRRP: &str = "vrrp/vrrp_parser.c";

const fn global(name: &'static str, needs: usize) -> Keyword {
    row(GLOBAL, name, needs).from(PARSER)
}

/// A block that stays with `keepalived -P`.
const fn foreign(name: &'static str) -> Keyword {
    row(TOP, name, 0)
        .opens(Opaque)
        .ignored()
        .from(VRRP)
        .takes("{ ... }")
        .doc("stays with `keepalived -P`; skipped")
}

/// Accepted in `global_defs`, not read further.
const fn passed(name: &'static str) -> Keyword {
    global(name, 0).ignored().doc("accepted, not validated, not used")
}

/// The same, but keepalived ends without an argument.
const fn passed_with(name: &'static str) -> Keyword {
    global(name, 1).ignored().doc("accepted, not validated, not used")
}

pub(super) const ROWS: &[Keyword] = &[
    row(TOP, "global_defs", 0)
        .opens(GlobalDefs)
        .from(PARSER)
        .takes("{ ... }")
        .doc("settings of the whole process; blocks add up"),
    row(TOP, "virtual_server_group", 1)
        .opens(Group)
        .takes("NAME { ... }")
        .doc("addresses and marks that share one pool"),
    row(TOP, "virtual_server", 1)
        .opens(VirtualServer)
        .takes("IP [PORT] | fwmark N | group NAME { ... }")
        .doc("a service"),
    row(TOP, "SSL", 0)
        .opens(Ssl)
        .from("check/check_ssl.c")
        .takes("{ ... }")
        .doc("client credentials of SSL_GET"),
    row(TOP, "local_address_group", 1)
        .opens(LocalGroup)
        .own()
        .takes("NAME { IP | IP-N | IP/PREFIX ... }")
        .doc("source addresses that full-NAT may use"),
    row(TOP, "xlb_mark", 1).opens(Mark).own().takes("N { ... }").doc("which packets carry mark N"),
    row(MARK, "address", 1)
        .own()
        .takes("IP | IP/PREFIX")
        .doc("destination addresses that carry the mark"),
    row(MARK, "protocol", 1).own().takes("TCP | UDP").doc("protocols that carry the mark"),
    row(MARK, "port", 1).own().takes("A | A-B").doc("destination ports that carry the mark"),
    foreign("vrrp_instance"),
    foreign("vrrp_sync_group"),
    foreign("vrrp_script"),
    foreign("vrrp_track_process"),
    foreign("vrrp_track_file"),
    foreign("track_file"),
    foreign("track_group"),
    foreign("garp_group"),
    foreign("static_ipaddress"),
    foreign("static_routes"),
    foreign("static_rules"),
    foreign("linkbeat_interfaces"),
    foreign("interface_up_down_delays"),
    foreign("bfd_instance"),
    row(TOP, "linkbeat_use_polling", 0).ignored().from(VRRP).doc("stays with `keepalived -P`"),
    row(TOP, "net_namespace", 0)
        .ignored()
        .from(PARSER)
        .takes("[NAME]")
        .doc("noted; xlb runs in the namespace it is started in"),
    row(TOP, "net_namespace_ipvs", 1)
        .ignored()
        .from(PARSER)
        .takes("NAME")
        .doc("noted; xlb runs in the namespace it is started in"),
    row(TOP, "namespace_with_ipsets", 0).ignored().from(PARSER).doc("accepted, not used"),
    row(TOP, "use_pid_dir", 0).ignored().from(PARSER).doc("accepted, not used"),
    row(TOP, "instance", 1)
        .ignored()
        .from(PARSER)
        .takes("NAME")
        .doc("accepted, not used: `xlb run --instance`"),
    row(TOP, "child_wait_time", 1).ignored().from(PARSER).takes("SECS").doc("accepted, not used"),
    row(SSL, "password", 1).from("check/check_ssl.c").takes("S").doc("of the key file"),
    row(SSL, "ca", 1)
        .from("check/check_ssl.c")
        .takes("FILE")
        .doc("authorities that SSL_GET trusts")
        .else_("no verification"),
    row(SSL, "certificate", 1)
        .from("check/check_ssl.c")
        .takes("FILE")
        .doc("client certificate of SSL_GET")
        .else_("none"),
    row(SSL, "key", 1).from("check/check_ssl.c").takes("FILE").doc("its key").else_("none"),
    global("router_id", 0).takes("STRING").else_("host name").doc("name in mails and logs"),
    global("notification_email", 0)
        .opens(EmailList)
        .takes("{ ADDRESS ... }")
        .else_("no mail")
        .doc("mail recipients"),
    global("notification_email_from", 0)
        .takes("ADDRESS")
        .else_("keepalived@host")
        .doc("sender of mails"),
    global("smtp_server", 1).takes("IP | NAME [PORT]").doc("where mails go"),
    global("smtp_helo_name", 0).takes("STRING").else_("host name").doc("name for HELO"),
    global("smtp_connect_timeout", 1)
        .takes("UINT")
        .else_("30")
        .doc("seconds to reach the mail server"),
    global("smtp_alert", 0).takes("[BOOL]").else_("unset").doc("default of every smtp_alert"),
    global("smtp_alert_checker", 0)
        .takes("[BOOL]")
        .else_("unset")
        .doc("beats smtp_alert for checkers"),
    global("no_checker_emails", 0)
        .doc("mail only when the real server changes, not one of its checkers"),
    global("checker_log_all_failures", 0)
        .takes("[BOOL]")
        .else_("false")
        .doc("log every failed check, not only changes"),
    global("rs_init_notifies", 0).doc("run notify_up for real servers set up at start"),
    global("lvs_timeouts", 0)
        .takes("[tcp N] [tcpfin N] [udp N]")
        .else_("900 120 300")
        .doc("connection time-outs in seconds, 0..2678400"),
    global("lvs_flush", 0).doc("clear all services at start: xlb owns its tables and always does"),
    global("lvs_flush_on_stop", 0).takes("[VS]").doc("how to tear down; the outcome is the same"),
    global("lvs_flush_onstop", 0).takes("[VS]").doc("old spelling of lvs_flush_on_stop"),
    global("lvs_sync_daemon", 0).takes("IF ...").doc("connection synchronisation"),
    global("notify_fifo", 0).takes("PATH").doc("event lines of everything"),
    global("notify_fifo_script", 0).takes("SCRIPT [USER [GROUP]]").doc("reads that fifo"),
    global("lvs_notify_fifo", 0).takes("PATH").doc("event lines of virtual and real servers"),
    global("lvs_notify_fifo_script", 0).takes("SCRIPT [USER [GROUP]]").doc("reads that fifo"),
    global("script_user", 0)
        .takes("USER [GROUP]")
        .else_("keepalived_script or root")
        .doc("who runs scripts"),
    global("enable_script_security", 0)
        .doc("refuse scripts that a user other than root may change"),
    global("startup_script", 0).takes("SCRIPT [USER [GROUP]]").doc("run once at start"),
    global("startup_script_timeout", 1)
        .takes("UINT 1..1000")
        .else_("10")
        .doc("seconds it may take"),
    global("shutdown_script", 0).takes("SCRIPT [USER [GROUP]]").doc("run once at the end"),
    global("shutdown_script_timeout", 1)
        .takes("UINT 1..1000")
        .else_("10")
        .doc("seconds it may take"),
    global("enable_snmp_checker", 0).doc("KEEPALIVED-MIB of virtual servers"),
    global("enable_traps", 0).doc("SNMP traps"),
    global("snmp_socket", 0).takes("SOCKET").doc("AgentX socket"),
    global("xlb_reply_path", 1)
        .own()
        .takes("strict | any")
        .else_("strict")
        .doc("whether real servers' answers are believed only by the interface that leads to them, or by any"),
    global("include_check", 0).takes("[[+|-]WORD ...]").doc("how much care plain includes take"),
    passed("checker_priority"),
    passed("checker_rt_priority"),
    passed("checker_cpu_affinity"),
    passed("checker_no_swap"),
    passed("checker_rlimit_rttime"),
    passed("checker_process_name"),
    passed("process_name"),
    passed("process_names"),
    passed("lvs_process_name"),
    passed("lvs_netlink_*"),
    passed("process_monitor_*"),
    passed("reload_*"),
    passed("config_save_dir"),
    passed("tmp_config_directory"),
    passed("data_use_instance"),
    passed("use_symlink_paths"),
    passed("set_supplementary_groups"),
    passed_with("umask"),
    passed_with("random_seed"),
    passed_with("nftables_ipvs_priority"),
    passed_with("nftables_ipvs_start_fwmark"),
    passed("nftables*"),
    passed("vrrp_*"),
    passed("bfd_*"),
    passed("garp_*"),
    passed("vmac_*"),
    passed("dbus*"),
    passed("enable_dbus"),
    passed("enable_snmp_keepalived"),
    passed("enable_snmp_rfc"),
    passed("enable_snmp_rfcv2"),
    passed("enable_snmp_rfcv3"),
    passed("enable_snmp_vrrp"),
    passed("default_interface"),
    passed("disable_local_igmp"),
    passed("dynamic_interfaces"),
    passed("fifo_write_vrrp_states_on_reload"),
    passed("iproute_*"),
    passed("json_version"),
    passed("log_unknown_vrids"),
    passed("max_auto_priority"),
    passed("min_auto_priority_delay"),
    passed("no_email_faults"),
    passed("smtp_alert_vrrp"),
    passed("linkbeat_use_polling"),
];

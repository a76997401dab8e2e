//! TCP's states as IPVS keeps them (`net/netfilter/ipvs/ip_vs_proto_tcp.c`, `tcp_states`).
//!
//! | packet | from the client (INPUT) | from the real server (OUTPUT) |
//! | --- | --- | --- |
//! | SYN | opens again in every state but ESTABLISHED, SYN_SENT | simultaneous open |
//! | FIN | ESTABLISHED → CLOSE_WAIT, FIN_WAIT → TIME_WAIT | ESTABLISHED → FIN_WAIT, CLOSE_WAIT → TIME_WAIT |
//! | ACK | SYN_RECV → ESTABLISHED; otherwise stays | the same |
//! | RST | → CLOSE, but SYN_RECV stays | → CLOSE, but SYN_SENT and TIME_WAIT stay |

use super::fragment;
use crate::abi::{ConnState, FlowFlags};
use crate::wire::tcp::TcpFlags;

/// States that a segment with neither SYN, FIN nor RST leaves as they are, in both directions; and UDP.
const QUIET: u32 = 1 << ConnState::Established as u32
    | 1 << ConnState::FinWait as u32
    | 1 << ConnState::TimeWait as u32
    | 1 << ConnState::Close as u32
    | 1 << ConnState::CloseWait as u32
    | 1 << ConnState::Udp as u32;

/// Whether a whole packet with these flags leaves a flow in this state word where it is: the established path.
#[inline(always)]
pub fn is_quiet(state: u32, flags: TcpFlags) -> bool {
    let marks = fragment::FIRST | fragment::LATER | fragment::FAR;
    let loud = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST;
    !flags.any(loud | marks) && (QUIET >> (state & 31)) & 1 != 0
}

use ConnState as S;

/// Rows: SYN, FIN, ACK, RST. Columns: the state before, in the numbering of [`ConnState`] up to `SynAck`.
type Rows = [[S; 11]; 4];

#[rustfmt::skip]
const FROM_CLIENT: Rows = [
    //   None            Established     SynSent         SynRecv         FinWait         TimeWait        Close           CloseWait       LastAck         Listen          SynAck
    [S::SynRecv,     S::Established, S::Established, S::SynRecv,     S::SynRecv,     S::SynRecv,     S::SynRecv,     S::SynRecv,     S::SynRecv,     S::SynRecv,     S::SynRecv],
    [S::Close,       S::CloseWait,   S::SynSent,     S::TimeWait,    S::TimeWait,    S::TimeWait,    S::Close,       S::CloseWait,   S::LastAck,     S::Listen,      S::TimeWait],
    [S::Established, S::Established, S::SynSent,     S::Established, S::FinWait,     S::TimeWait,    S::Close,       S::CloseWait,   S::Close,       S::Listen,      S::Established],
    [S::Close,       S::Close,       S::Close,       S::SynRecv,     S::Close,       S::Close,       S::Close,       S::Close,       S::LastAck,     S::Listen,      S::SynRecv],
];

#[rustfmt::skip]
const FROM_REAL: Rows = [
    //   None            Established     SynSent         SynRecv         FinWait         TimeWait        Close           CloseWait       LastAck         Listen          SynAck
    [S::SynSent,     S::Established, S::SynSent,     S::SynRecv,     S::SynSent,     S::SynSent,     S::SynSent,     S::SynSent,     S::SynSent,     S::Listen,      S::SynRecv],
    [S::TimeWait,    S::FinWait,     S::SynSent,     S::TimeWait,    S::FinWait,     S::TimeWait,    S::Close,       S::TimeWait,    S::LastAck,     S::Listen,      S::TimeWait],
    [S::Established, S::Established, S::SynSent,     S::Established, S::FinWait,     S::TimeWait,    S::Close,       S::CloseWait,   S::LastAck,     S::Established, S::Established],
    [S::Close,       S::Close,       S::SynSent,     S::Close,       S::Close,       S::TimeWait,    S::Close,       S::Close,       S::Close,       S::Close,       S::Close],
];

/// As [`FROM_CLIENT`] where the real server's segments do not come by here (INPUT-ONLY): a client that closes first is
/// as good as a real server that does.
#[rustfmt::skip]
const FROM_CLIENT_ALONE: Rows = [
    //   None            Established     SynSent         SynRecv         FinWait         TimeWait        Close           CloseWait       LastAck         Listen          SynAck
    [S::SynRecv,     S::Established, S::Established, S::SynRecv,     S::SynRecv,     S::SynRecv,     S::SynRecv,     S::SynRecv,     S::SynRecv,     S::SynRecv,     S::SynRecv],
    [S::Close,       S::FinWait,     S::SynSent,     S::TimeWait,    S::FinWait,     S::TimeWait,    S::Close,       S::CloseWait,   S::LastAck,     S::Listen,      S::TimeWait],
    [S::Established, S::Established, S::SynSent,     S::Established, S::FinWait,     S::TimeWait,    S::Close,       S::CloseWait,   S::Close,       S::Listen,      S::Established],
    [S::Close,       S::Close,       S::Close,       S::SynRecv,     S::Close,       S::Close,       S::Close,       S::Close,       S::LastAck,     S::Listen,      S::Close],
];

/// The state after a segment on an entry with these bits of `FlowFlags`. UDP and `Dead` never change.
///
/// RST beats SYN beats FIN beats ACK, as `tcp_state_idx` has it. A segment with none of them changes nothing.
// IPVS differs: such a segment takes it to CLOSE (`set_tcp_state`). No TCP sends one, and a forger shall not end a flow
// by it.
#[inline(always)]
pub fn after(state: ConnState, flags: TcpFlags, entry: u8) -> ConnState {
    let row = if flags.any(TcpFlags::RST) {
        3
    } else if flags.any(TcpFlags::SYN) {
        0
    } else if flags.any(TcpFlags::FIN) {
        1
    } else if flags.any(TcpFlags::ACK) {
        2
    } else {
        return state;
    };
    let rows: &Rows = if entry & FlowFlags::REPLY != 0 {
        &FROM_REAL
    } else if entry & FlowFlags::DIRECT != 0 {
        &FROM_CLIENT_ALONE
    } else {
        &FROM_CLIENT
    };
    let column = state as usize;
    if column < 11 { rows[row][column] } else { state }
}

/// Whether a SYN from the client on a flow in this state is a new connection (`conn_reuse_mode` 1,
/// `is_new_conn_expected` in `net/netfilter/ipvs/ip_vs_core.c`).
#[inline(always)]
pub fn may_be_reused(state: ConnState) -> bool {
    matches!(state, ConnState::TimeWait | ConnState::Close)
}

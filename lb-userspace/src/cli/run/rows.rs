//! Connections for `xlb conns`, read on a thread of their own so that a slow reader holds up nobody else.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use lb_common::abi::{ConnState, FlowFlags, Real, RealId};
use lb_common::engine::expire::listed;
use lb_common::wire::{Addr6, Port};
use tokio::sync::mpsc;

use crate::dataplane::read::{ConnRow as Conn, Reader, TemplateRow};
use crate::stats::conn::ConnRow;
use crate::stats::report::Protocol;

/// Rows sent at a time.
const BATCH: usize = 512;

/// Starts reading.
pub(super) fn start(reader: Reader) -> mpsc::Receiver<Vec<ConnRow>> {
    let (rows, receiver) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let mut batch = Batch { rows: Vec::with_capacity(BATCH), out: rows };
        let mut read = reader.conns(|conn| batch.push(connection(&reader, &conn)));
        if read.is_ok() && !batch.out.is_closed() {
            read = reader.templates(|row| batch.push(template(&reader, &row)));
        }
        if let Err(error) = read {
            tracing::error!("the connection table cannot be read: {error}");
        }
        let _ = batch.flush();
    });
    receiver
}

struct Batch {
    rows: Vec<ConnRow>,
    out: mpsc::Sender<Vec<ConnRow>>,
}

impl Batch {
    fn push(&mut self, row: Option<ConnRow>) -> ControlFlow<()> {
        self.rows.extend(row);
        if self.rows.len() < BATCH { ControlFlow::Continue(()) } else { self.flush() }
    }

    fn flush(&mut self) -> ControlFlow<()> {
        // The caller is gone: so are we.
        match self.out.blocking_send(std::mem::take(&mut self.rows)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

fn at(address: Addr6, port: Port) -> SocketAddr {
    SocketAddr::new(address.into(), port.get())
}

/// `None` for an entry that is being removed.
fn connection(reader: &Reader, conn: &Conn) -> Option<ConnRow> {
    let (key, rewrite) = (&conn.key, &conn.flow.rewrite);
    let state = conn.flow.conn_state().filter(|state| *state != ConnState::Dead)?;
    let full_nat = rewrite.flags & FlowFlags::FULL_NAT != 0;
    // Under DR and in tunnels the packet keeps the virtual address: only the table knows whose it is.
    let direct = rewrite.is_direct().then(|| reader.real(rewrite.real).ok().flatten()).flatten();
    let real = match direct {
        Some(Real { addr, port: Port::ZERO, .. }) => at(addr, key.dport),
        Some(Real { addr, port, .. }) => at(addr, port),
        None => at(rewrite.dst, rewrite.dport),
    };
    Some(ConnRow {
        protocol: Protocol::from_number(key.proto)?,
        client: at(key.src, key.sport),
        service: at(key.dst, key.dport),
        local: full_nat.then(|| at(rewrite.src, rewrite.sport)),
        real,
        state: listed(state).name().to_owned(),
        expires_s: conn.remaining.as_secs(),
        in_packets: None,
        out_packets: None,
        in_bytes: None,
        out_bytes: None,
        template: false,
    })
}

/// `None` for a template of a service that was removed.
fn template(reader: &Reader, row: &TemplateRow) -> Option<ConnRow> {
    let service = row.service?;
    let RealId(id) = row.sticky.real;
    let real = reader.real(RealId(id)).ok().flatten()?;
    Some(ConnRow {
        protocol: Protocol::from_number(service.proto)?,
        client: at(row.key.client, Port::ZERO),
        service: at(service.addr, service.port),
        local: None,
        real: at(real.addr, real.port),
        state: "ASSURED".to_owned(),
        expires_s: row.remaining.as_secs(),
        in_packets: None,
        out_packets: None,
        in_bytes: None,
        out_bytes: None,
        template: true,
    })
}

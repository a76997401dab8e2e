//! Datagrams that do not fit in one packet.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::bed::{Bed, client_address};
use super::client::VIP;
use super::config::Service;

/// Datagrams of up to the largest size go to the real server and back whole, by both methods. // P-18 P-19
pub fn large_datagrams_pass_both_ways() -> anyhow::Result<()> {
    for kind in ["NAT", "FNAT"] {
        let bed = Bed::two_arm()?;
        let reals = vec![("192.168.1.100 5300".to_owned(), 1, String::new())];
        let daemon = bed.start(&Service { protocol: "UDP", reals, ..Service::new(kind) }.text())?;
        let echo = bed.lab.real(1)?.enter(|| UdpSocket::bind("192.168.1.100:5300"))??;
        let client = bed.client()?.enter(|| UdpSocket::bind((client_address(0), 0)))??;
        for socket in [&echo, &client] {
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        }
        client.connect(VIP)?;
        let mut buffer = vec![0; 65_536];
        for size in [1_400_u32, 1_473, 4_000, 65_507] {
            let question: Vec<u8> = (0..size).map(|n| (n * 31 % 251) as u8).collect();
            client.send(&question)?;
            let (length, from) =
                echo.recv_from(&mut buffer).with_context(|| format!("{kind}: question {size}"))?;
            ensure!(buffer[..length] == question, "{kind}: a question of {size} came otherwise");
            echo.send_to(&question, from)?;
            let length =
                client.recv(&mut buffer).with_context(|| format!("{kind}: answer {size}"))?;
            ensure!(buffer[..length] == question, "{kind}: an answer of {size} came otherwise");
        }
        let stats = daemon.stats()?;
        ensure!(stats["tables"]["fragments"]["used"] == 6, "{}", stats["tables"]);
        ensure!(stats["passes"]["fragment"] == 0, "{}", stats["passes"]);
    }
    Ok(())
}

//! The web server behind the gateways: answers which gateway has asked.
//!
//! nginx where it is installed, else a small server of our own that answers the same.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread::JoinHandle;

use super::gateway::wait_for_port;
use super::{Host, LabError, Process, Tool};

const PORT: u16 = 80;

/// A running origin. Every answer's body is `gateway=<who asked> client=<who asked the gateway>`.
#[derive(Debug)]
pub struct Origin {
    server: Server,
}

/// Held for what dropping it ends.
#[derive(Debug)]
enum Server {
    Nginx(#[expect(dead_code, reason = "held to be dropped")] Process),
    Own(#[expect(dead_code, reason = "held to be dropped")] OwnServer),
}

impl Origin {
    /// Starts it on `host`, port 80.
    pub fn start(host: &Host, address: Ipv4Addr) -> Result<Self, LabError> {
        let server = if Tool::NGINX.find().is_some() {
            Server::Nginx(start_nginx(host, address)?)
        } else {
            Server::Own(OwnServer::start(host, address)?)
        };
        Ok(Self { server })
    }

    /// What serves.
    pub fn kind(&self) -> &'static str {
        match self.server {
            Server::Nginx(_) => "nginx",
            Server::Own(_) => "built in",
        }
    }
}

fn start_nginx(host: &Host, address: Ipv4Addr) -> Result<Process, LabError> {
    let folder = host.folder().join("nginx");
    fs::create_dir_all(&folder).map_err(LabError::path("create", &folder))?;
    let config = folder.join("nginx.conf");
    let text = nginx_config(&folder.display().to_string(), address);
    fs::write(&config, text).map_err(LabError::path("write", &config))?;
    let program = Tool::NGINX.find().unwrap_or_else(|| Tool::NGINX.program.into());
    let mut command = host.command(program);
    command.arg("-e").arg(folder.join("error.log"));
    command.arg("-p").arg(&folder).arg("-c").arg(&config);
    let mut process = host.spawn("nginx", command)?;
    wait_for_port(host, &mut process, address, PORT)?;
    Ok(process)
}

fn nginx_config(folder: &str, address: Ipv4Addr) -> String {
    format!(
        "daemon off; master_process off; user root; pid {folder}/pid; error_log {folder}/error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{ access_log off; default_type text/plain;\n\
         client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;\n\
         uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;\n\
         server {{ listen {address}:{PORT};\n\
         location / {{ return 200 \"gateway=$http_x_gateway client=$http_x_tinyproxy\\n\"; }} }} }}\n"
    )
}

/// HTTP/1.0, one thread, one request a connection: enough for a laboratory.
#[derive(Debug)]
struct OwnServer {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl OwnServer {
    fn start(host: &Host, address: Ipv4Addr) -> Result<Self, LabError> {
        let failed = |source| LabError::Io {
            action: "listen on",
            object: format!("{address}:{PORT}"),
            source,
        };
        let listener = host.enter(|| TcpListener::bind((address, PORT)))?.map_err(failed)?;
        let accepting = listener.try_clone().map_err(failed)?;
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                // A client that goes away hurts only itself.
                let _ = answer(&stream);
            }
        });
        Ok(Self { listener, thread: Some(thread) })
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // SAFETY: shutdown(2) on an open socket; it wakes the thread that accepts.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    let (mut gateway, mut client) = (String::new(), String::new());
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "x-gateway" => value.trim().clone_into(&mut gateway),
            "x-tinyproxy" => value.trim().clone_into(&mut client),
            _ => {}
        }
    }
    let body = format!("gateway={gateway} client={client}\n");
    let length = body.len();
    write!(
        stream,
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    stream.shutdown(Shutdown::Write)
}

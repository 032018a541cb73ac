//! `footage-rtsp-server`: a camera for tests, on loopback, that fails on command.
//!
//! When it serves, it prints one line of JSON: `{"ready":{"port":..,"scheme":"rtsp","ca":..,
//! "mounts":[..]}}`. It reads commands from its standard input, one JSON object a line, and answers
//! each with `{"done":true}` or `{"failed":"why"}`. It lives until its standard input closes.

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use footage_rtsp_server::{Access, Certificate, Command, Flaw, MountSpec, Server};
use gst::glib;
use serde_json::json;

/// Serves clips over RTSP on 127.0.0.1, in a loop, and fails on command.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Port to listen on; 0 for a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Ask for this user name.
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// Ask for this password, by digest.
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// Ask for the password in plain text (basic authentication).
    #[arg(long, requires = "user")]
    basic: bool,
    /// Speak TLS. The certificate is kept in this folder and made there if there is none; clients
    /// may trust its `ca.pem`.
    #[arg(long, value_name = "FOLDER")]
    tls: Option<PathBuf>,
    /// What is wrong with a certificate that is made.
    #[arg(long, value_enum, default_value_t, requires = "tls")]
    flaw: FlawArg,
    /// NAME=CONTENT[,codec=h264|h265][,size=WxH][,fps=N][,gop=N][,seconds=N][,carrier=tcp|udp],
    /// where CONTENT is a video file, test:still, test:ball or test:change; NAME alone is a moving ball.
    #[arg(required = true, value_name = "MOUNT")]
    mounts: Vec<MountSpec>,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum FlawArg {
    #[default]
    None,
    Expired,
    OtherHost,
}

impl From<FlawArg> for Flaw {
    fn from(flaw: FlawArg) -> Self {
        match flaw {
            FlawArg::None => Self::None,
            FlawArg::Expired => Self::Expired,
            FlawArg::OtherHost => Self::OtherHost,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    gst::init().context("gstreamer does not start")?;
    let certificate = match &args.tls {
        Some(folder) => Some(Certificate::kept_in(folder, args.flaw.into())?),
        None => None,
    };
    let ca = certificate.as_ref().map(|certificate| certificate.ca_file().to_owned());
    let access =
        Access { credentials: args.user.zip(args.password), basic: args.basic, certificate };
    let server = Server::start(args.port, &access, args.mounts)?;
    say(&json!({"ready": {
        "port": server.port(),
        "scheme": if ca.is_some() { "rtsps" } else { "rtsp" },
        "ca": ca,
        "mounts": server.mounts().collect::<Vec<_>>(),
    }}))?;
    let main_loop = glib::MainLoop::new(None, false);
    std::thread::spawn(move || {
        // The end of the input, or of whoever reads the answers, is the end of the server. Nothing
        // is taken down in order: a camera whose plug is pulled does not do so either.
        let end = listen(&server);
        std::process::exit(i32::from(end.is_err()));
    });
    main_loop.run();
    Ok(())
}

/// Obeys the commands on standard input until it closes.
fn listen(server: &Server) -> anyhow::Result<()> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        say(&answer(server, &line))?;
    }
    Ok(())
}

fn answer(server: &Server, line: &str) -> serde_json::Value {
    let command: Command = match serde_json::from_str(line) {
        Ok(command) => command,
        Err(error) => return json!({"failed": error.to_string()}),
    };
    let count = (command == Command::Connections).then(|| server.connections());
    match (server.obey(command), count) {
        (Err(error), _) => json!({"failed": error.to_string()}),
        (Ok(()), Some(count)) => json!({"done": true, "connections": count}),
        (Ok(()), None) => json!({"done": true}),
    }
}

fn say(line: &serde_json::Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

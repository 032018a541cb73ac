//! Cameras behind HTTP: a playlist (HLS), with a password, from a server of a hundred lines.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use footage_clip::Clock;
use footage_pipeline::{CameraState, LiveError};
use support::house::{House, Plan, camera, has_failed, is_live};

/// `admin:hunter2`, as HTTP writes it.
const BASIC: &str = "Basic YWRtaW46aHVudGVyMg==";

type Asked = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// Serves a folder on a port of its own. Remembers what was asked for, and with which authorisation.
struct Folder {
    port: u16,
    asked: Asked,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("asked for: {:?}", self.asked.lock().unwrap());
        }
    }
}

impl Folder {
    fn serve(dir: &Path, is_open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Asked::default();
        let (dir, noted) = (dir.to_owned(), asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (dir, noted) = (dir.clone(), noted.clone());
                thread::spawn(move || answer(stream, &dir, is_open, &noted));
            }
        });
        Self { port, asked }
    }
}

fn answer(mut stream: TcpStream, dir: &Path, is_open: bool, noted: &Asked) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while let Some(Ok(request)) = lines.next() {
        let headers: Vec<String> =
            lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
        let authorisation = headers
            .iter()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            .map(|(_, value)| value.to_owned());
        let is_admitted = is_open || authorisation.as_deref() == Some(BASIC);
        noted.lock().unwrap().push((path.clone(), authorisation));
        let (status, body) = match fs_err::read(dir.join(path)) {
            _ if !is_admitted => ("401 Unauthorized", Vec::new()),
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let ask = if is_admitted { "" } else { "WWW-Authenticate: Basic realm=\"door\"\r\n" };
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\n{ask}Content-Length: {length}\r\n\r\n")?;
        stream.write_all(&body)?;
    }
    Ok(())
}

/// Six seconds of a moving ball, as segments; the playlist names those of `segments_at`.
fn playlist(dir: &Path, segments_at: &str) -> PathBuf {
    support::launch(
        "videotestsrc num-buffers=120 pattern=ball ! video/x-raw,width=160,height=120,framerate=20/1 \
         ! x264enc tune=zerolatency key-int-max=20 ! h264parse ! mpegtsmux ! filesink location=OUT",
        &dir.join("ball.ts"),
    );
    let path = dir.join("live.m3u8");
    let playlist = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:0\n\
         #EXTINF:6.0,\n{segments_at}ball.ts\n#EXT-X-ENDLIST\n"
    );
    fs_err::write(&path, playlist).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_playlist_is_watched_at_its_own_pace() {
    let dir = tempfile::tempdir().unwrap();
    playlist(dir.path(), "");
    let server = Folder::serve(dir.path(), false);
    let Some(house) = House::open(Plan::default()) else { return };
    let address = format!("http://admin:hunter2@127.0.0.1:{}/live.m3u8", server.port);
    let door = camera("door", &address);
    house.watch.set(door.clone());
    house.until(&door, is_live).await;
    house.more_clips(5).await;
    let asked = server.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|(path, given)| path == "ball.ts" && given.is_some()), "{asked:?}");
    let utc = house.clips()[0].span.utc.unwrap();
    assert_eq!((utc.clock, utc.uncertainty_ms), (Clock::Arrival, 30_000));
    // It ends, and is asked for again.
    house.until(&door, has_failed).await;
    house.until(&door, is_live).await;
    house.more_clips(5).await;
    house.conserved();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_given_to_the_camera_alone() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    playlist(elsewhere.path(), "");
    let other = Folder::serve(elsewhere.path(), false);
    playlist(dir.path(), &format!("http://127.0.0.1:{}/", other.port));
    let server = Folder::serve(dir.path(), false);
    let Some(house) = House::open(Plan::default()) else { return };
    let address = format!("http://admin:hunter2@127.0.0.1:{}/live.m3u8", server.port);
    let door = camera("door", &address);
    house.watch.set(door.clone());
    house.until(&door, has_failed).await;
    let of = |folder: &Folder| folder.asked.lock().unwrap().clone();
    let is_given = |(_, given): &(String, Option<String>)| given.as_deref() == Some(BASIC);
    assert!(of(&server).iter().any(is_given), "{:?}", of(&server));
    assert!(!of(&other).is_empty() && !of(&other).iter().any(is_given), "{:?}", of(&other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_said() {
    let dir = tempfile::tempdir().unwrap();
    playlist(dir.path(), "");
    let server = Folder::serve(dir.path(), false);
    let Some(house) = House::open(Plan::default()) else { return };
    let door = camera("door", &format!("http://admin:other@127.0.0.1:{}/live.m3u8", server.port));
    house.watch.set(door.clone());
    house.until(&door, |state| *state == CameraState::Failed(LiveError::Unauthorised)).await;
}

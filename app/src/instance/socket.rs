//! The socket in a data directory.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

const NAME: &str = "footage.sock";

/// Longest path that the address of a Unix socket holds.
const LONGEST_PATH: usize = 107;

/// Where the socket lies.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

pub(super) async fn connect(data_dir: &Path) -> io::Result<UnixStream> {
    let reach = Reach::of(data_dir)?;
    UnixStream::connect(reach.path.join(NAME)).await
}

/// Listens in place of whoever listened before: the caller holds the data directory's lock. Nobody
/// but this user can connect, at no moment.
pub(super) fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    let private = data_dir.join(format!(".socket-{}", std::process::id()));
    std_dir(&private)?;
    let bound = Reach::of(&private).and_then(|reach| {
        let listener = UnixListener::bind(reach.path.join(NAME))?;
        let only_this_user = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs_err::set_permissions(private.join(NAME), only_this_user)?;
        fs_err::rename(private.join(NAME), path(data_dir))?;
        Ok(listener)
    });
    fs_err::remove_dir_all(&private)?;
    bound
}

fn std_dir(private: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(private) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::DirBuilder::new().mode(0o700).create(private)
}

/// A way to a folder that is short enough for the address of a socket in it.
struct Reach {
    path: PathBuf,
    /// Open as long as the way is used.
    _folder: Option<fs_err::File>,
}

impl Reach {
    fn of(folder: &Path) -> io::Result<Self> {
        if folder.as_os_str().len() + 1 + NAME.len() <= LONGEST_PATH {
            return Ok(Self { path: folder.to_owned(), _folder: None });
        }
        let opened = fs_err::File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
        Ok(Self { path, _folder: Some(opened) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_socket_is_reached_however_long_its_folders_name_and_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        for data_dir in [folder.path().to_owned(), folder.path().join("x".repeat(200))] {
            fs_err::create_dir_all(&data_dir).unwrap();
            assert!(connect(&data_dir).await.is_err());
            let listener = listen(&data_dir).unwrap();
            let (_client, _served) =
                tokio::try_join!(connect(&data_dir), async { listener.accept().await }).unwrap();
            let mode = fs_err::metadata(path(&data_dir)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            drop(listener);
            assert_eq!(
                connect(&data_dir).await.unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused
            );
            drop(listen(&data_dir).unwrap());
        }
    }
}

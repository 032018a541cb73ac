//! Opening files that may be damaged, with libraries that panic on some damage.

use std::thread;

/// Name of the thread that opens files. A panic there is caught and told as an error; a program may
/// keep its words off the terminal by this name.
pub const OPENING_THREAD: &str = "footage-opening";

/// What `open` gives, or the words of its panic.
pub(crate) fn guarded<R: Send>(open: impl FnOnce() -> R + Send) -> Result<R, String> {
    thread::scope(|scope| {
        let opening = thread::Builder::new().name(OPENING_THREAD.to_owned());
        let opening = opening.spawn_scoped(scope, open).map_err(|error| error.to_string())?;
        opening.join().map_err(|panic| {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            words.unwrap_or_else(|| "it makes no sense".to_owned())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_in_its_own_words() {
        assert_eq!(guarded(|| 7), Ok(7));
        let damage = [0u8; 3];
        let at = damage.len();
        let told = guarded(|| damage.get(at).map_or_else(|| panic!("byte {at}"), |b| *b));
        assert_eq!(told, Err("byte 3".to_owned()));
    }
}

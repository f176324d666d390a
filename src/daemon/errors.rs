//! How an error becomes one log line: the whole chain of causes, each said once.

/// `error: cause: cause`. Errors of libraries may say their cause themselves: it is not said again.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

/// Whether an error says, itself or by its cause, that the process or the machine has no descriptor or memory left: that
/// passes, and damages nothing.
pub fn is_exhausted(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let code = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        if code.is_some_and(|code| [libc::EMFILE, libc::ENFILE, libc::ENOMEM].contains(&code)) {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Says(&'static str, #[source] std::io::Error);

    #[test]
    fn each_cause_is_said_once() {
        let cause = || std::io::Error::other("no such file");
        assert_eq!(chain(&Says("not opened", cause())), "not opened: no such file");
        assert_eq!(chain(&Says("not opened: no such file", cause())), "not opened: no such file");
    }

    #[test]
    fn want_of_descriptors_is_no_damage() {
        let says = |code| Says("not opened", std::io::Error::from_raw_os_error(code));
        assert!(is_exhausted(&says(libc::EMFILE)) && is_exhausted(&says(libc::ENOMEM)));
        assert!(!is_exhausted(&says(libc::EIO)) && !is_exhausted(&says(libc::ENOENT)));
    }
}

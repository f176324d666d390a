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
}

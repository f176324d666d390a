//! A Rust file as the rules see it: code without comments, texts and tests, and the paths that the code names.
//!
//! No parser of Rust: what it does not understand (macros that make paths, modules written inline) stands in no room's
//! way, because clippy's bans and the compiler see the rest.

/// The code with every comment, text and character blanked; lines stay where they are.
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => find(&chars, i, |c, _| c == '\n'),
            ('/', '*') => block_comment_end(&chars, i),
            ('"', _) => string_end(&chars, i),
            ('r', '"' | '#') if !is_word(at(i.wrapping_sub(1))) || at(i.wrapping_sub(1)) == 'b' => {
                raw_end(&chars, i)
            }
            ('\'', '\\') => find(&chars, i + 3, |c, _| c == '\'') + 1,
            ('\'', _) if at(i + 2) == '\'' => i + 3,
            _ => i,
        };
        if end == i {
            out.push(at(i));
            i += 1;
        } else {
            out.extend(chars[i..end.min(chars.len())].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            i = end;
        }
    }
    out
}

fn find(chars: &[char], from: usize, stop: impl Fn(char, usize) -> bool) -> usize {
    (from..chars.len()).find(|i| stop(chars[*i], *i)).unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut depth, mut i) = (0, start);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) if depth == 1 => return i + 2,
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// The end of `r"…"` or `r#"…"#`; `start` itself when it is something else, such as the name `r#type`.
fn raw_end(chars: &[char], start: usize) -> usize {
    let quote = find(chars, start + 1, |c, _| c != '#');
    if chars.get(quote) != Some(&'"') {
        return start;
    }
    let hashes = quote - start - 1;
    let closes = |i: usize| (1..=hashes).all(|n| chars.get(i + n) == Some(&'#'));
    find(chars, quote + 1, |c, i| c == '"' && closes(i)) + hashes + 1
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// `code` (from [`code_only`]) without the modules that only tests compile.
pub fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let end = out[start..].find(['{', ';']).map_or(out.len(), |n| {
            let open = start + n;
            if out.as_bytes()[open] == b';' { open + 1 } else { closing(&out, open) }
        });
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// Just behind the brace that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (i, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + i + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Words, `::`, and every other character that is not a space.
pub fn tokens(code: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut joins = false;
    for c in code.chars() {
        match out.last_mut() {
            Some(last) if joins && is_word(c) => last.push(c),
            Some(last) if c == ':' && joins && last == ":" => last.push(':'),
            _ if c.is_whitespace() => {}
            _ => out.push(c.to_string()),
        }
        joins = is_word(c) || (c == ':' && out.last().is_some_and(|last| last == ":"));
    }
    out
}

/// Every path of two names or more that the code names, `use` trees written out, `super` and `self` resolved against
/// `module` (the names below `crate`).
pub fn paths(code: &str, module: &[&str]) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let begins = is_name(&tokens[i]) && (i == 0 || tokens[i - 1] != "::");
        if tokens[i] == "use" {
            i = tree(&tokens, i + 1, &[], &mut found);
        } else if begins && tokens.get(i + 1).is_some_and(|next| next == "::") {
            i = tree(&tokens, i, &[], &mut found);
        } else {
            i += 1;
        }
    }
    found.into_iter().map(|path| absolute(path, module)).filter(|path| path.len() > 1).collect()
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads one path or `use` tree that begins at `i`; where it ends.
fn tree(tokens: &[String], mut i: usize, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    loop {
        match tokens.get(i).map(String::as_str) {
            Some("::") => i += 1,
            Some("{") if !path.is_empty() && tokens[i - 1] == "::" => {
                i += 1;
                while tokens.get(i).is_some_and(|token| token != "}") {
                    let next = tree(tokens, i, &path, found);
                    i = if next == i || tokens.get(next).is_some_and(|token| token == ",") {
                        next + 1
                    } else {
                        next
                    };
                }
                return i + 1;
            }
            Some(name) if is_name(name) && (path.len() == before.len() || tokens[i - 1] == "::") => {
                path.push(name.to_owned());
                i += 1;
            }
            Some("*") if tokens[i - 1] == "::" => i += 1,
            _ => break,
        }
    }
    if tokens.get(i).is_some_and(|token| token == "as") {
        i += 2;
    }
    found.push(path);
    i
}

fn absolute(path: Vec<String>, module: &[&str]) -> Vec<String> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    let rest = path.iter().skip_while(|name| *name == "super" || *name == "self").cloned();
    match path.first().map(String::as_str) {
        Some("super" | "self") => {
            let kept = module.len().saturating_sub(ups);
            let home = module.iter().take(kept).map(|name| (*name).to_owned());
            std::iter::once("crate".to_owned()).chain(home).chain(rest).collect()
        }
        Some("greffier") => std::iter::once("crate".to_owned()).chain(path.into_iter().skip(1)).collect(),
        _ => path.into_iter().filter(|name| name != "self").collect(),
    }
}

#[test]
fn comments_texts_and_characters_are_blanked() {
    let text = "a /* x /* y */ z */ b // tokio::spawn\n\"std::fs \\\" q\" c r#\"a \" b\"# 'x' '\\'' &'a str b\"sled::\" d";
    let words: Vec<_> = code_only(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a", "b", "c", "&'a", "str", "b", "d"]);
    assert_eq!(code_only("let r#type = r;").trim(), "let r#type = r;");
}

#[test]
fn tests_are_left_out() {
    let code = "use a::b;\n#[cfg(test)]\nmod tests { use std::fs; fn f() { {} } }\nuse c::d;\n#[cfg(test)]\nmod more;";
    assert_eq!(paths(&without_tests(code), &[]), [["a", "b"], ["c", "d"]]);
}

#[test]
fn use_trees_are_written_out() {
    let code = "pub(crate) use std::{fmt::{self, Write as _}, fs::*, io}; fn f() { x(crate::shell::sys::go::<u8>(super::a::b)); }";
    let found: Vec<String> = paths(code, &["core", "ids"]).iter().map(|path| path.join("::")).collect();
    assert_eq!(
        found,
        ["std::fmt", "std::fmt::Write", "std::fs", "std::io", "crate::shell::sys::go", "crate::core::a::b"]
    );
    let own: Vec<_> =
        paths("use self::a::{b, super_c}; use super::super::x::y; greffier::ctl::run()", &["m", "n"]);
    let own: Vec<String> = own.iter().map(|path| path.join("::")).collect();
    assert_eq!(own, ["crate::m::n::a::b", "crate::m::n::a::super_c", "crate::x::y", "crate::ctl::run"]);
}

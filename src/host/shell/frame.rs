//! Frames: how an answer is cut into its parts.

use std::collections::VecDeque;

use super::Nonce;

/// One part of an answer: the words after the nonce, and everything up to the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// Words of its first line.
    pub(crate) header: &'a str,
    /// What follows.
    pub(crate) body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The header's words after the kind.
    pub(crate) fn words(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.header
            .split(' ')
            .skip(1)
            .filter(|word| !word.is_empty())
    }

    /// The body as text; foreign bytes replaced.
    pub(crate) fn text(&self) -> std::borrow::Cow<'a, str> {
        String::from_utf8_lossy(self.body)
    }
}

/// The frames of an answer, taken in the order in which the script must have written them.
#[derive(Debug)]
pub(crate) struct Frames<'a>(VecDeque<Frame<'a>>);

impl<'a> Frames<'a> {
    /// Cuts the answer (what follows the nonce's own first line) into frames; refuses one that has no `end`.
    pub(crate) fn of(answer: &'a [u8], nonce: &Nonce) -> Result<Self, String> {
        let mark = format!("\n{} ", nonce.as_str());
        let mut frames = VecDeque::new();
        let mut rest = match find(answer, mark.as_bytes()) {
            Some(0) => answer.get(mark.len()..).unwrap_or_default(),
            Some(_) => return Err("there is text before the first frame".to_owned()),
            None => return Err("it was cut off before the first frame".to_owned()),
        };
        loop {
            let next = find(rest, mark.as_bytes());
            let (frame, after) = rest.split_at(next.unwrap_or(rest.len()));
            frames.push_back(Self::frame(frame)?);
            if next.is_none() {
                break;
            }
            rest = after.get(mark.len()..).unwrap_or_default();
        }
        match frames.pop_back() {
            Some(Frame {
                header: "end",
                body: [],
            }) => Ok(Self(frames)),
            Some(_) | None => Err("it was cut off before the end".to_owned()),
        }
    }

    fn frame(bytes: &'a [u8]) -> Result<Frame<'a>, String> {
        let end = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or("a frame was cut off")?;
        let header = bytes
            .get(..end)
            .and_then(|header| std::str::from_utf8(header).ok())
            .ok_or("a frame's first line is not text")?;
        Ok(Frame {
            header,
            body: bytes.get(end + 1..).unwrap_or_default(),
        })
    }

    /// The next frame, which must be of this kind.
    pub(crate) fn expect(&mut self, kind: &str) -> Result<Frame<'a>, String> {
        self.accept(kind)
            .ok_or_else(|| format!("the part `{kind}` is missing"))
    }

    /// The next frame, if it is of this kind.
    pub(crate) fn accept(&mut self, kind: &str) -> Option<Frame<'a>> {
        if self.0.front()?.header.split(' ').next() == Some(kind) {
            return self.0.pop_front();
        }
        None
    }

    /// Refuses frames that nobody asked for.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.0.front() {
            None => Ok(()),
            Some(frame) => Err(format!("the part `{}` is unexpected", frame.header)),
        }
    }
}

/// Where `needle` first occurs.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle.first()?;
    let mut from = 0;
    while let Some(offset) = haystack.get(from..)?.iter().position(|byte| byte == first) {
        let at = from + offset;
        if haystack.get(at..)?.starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_occurrence() {
        assert_eq!(find(b"aab", b"ab"), Some(1));
        assert_eq!(find(b"aab", b"x"), None);
        assert_eq!(find(b"", b"x"), None);
    }

    #[test]
    fn refuses_an_answer_without_its_end() {
        let nonce = Nonce("ab".to_owned());
        assert!(Frames::of(b"\nab one\nbody\nab end\n", &nonce).is_ok());
        for cut in 0.."\nab one\nbody\nab end\n".len() {
            let answer = b"\nab one\nbody\nab end\n".get(..cut).unwrap_or_default();
            assert!(Frames::of(answer, &nonce).is_err(), "cut at {cut}");
        }
    }
}

//! Commands as scripts.

use super::{Nonce, Request, print_bytes, quote, quote_all};
use crate::host::command::{Body, Command};

/// Compiles a command. Its own output follows the nonce's line, unframed; its status is the script's.
///
/// A program replaces the shell, so that a signal that ends it is seen as one. Standard input is laid into an unlinked
/// file on a tmpfs before the command starts: it gets all of it or does not start.
pub(crate) fn compile(nonce: Nonce, command: &Command) -> Request {
    let mut body = match &command.stdin {
        None => "exec </dev/null\n".to_owned(),
        Some(bytes) => stdin(&nonce, bytes),
    };
    match &command.body {
        Body::Program(words) => {
            body.push_str("unset -f q\nexec ");
            body.push_str(&quote_all(words));
        }
        Body::Script(script) => {
            body.push_str("unset -f q\nset --");
            for argument in &script.arguments {
                body.push(' ');
                body.push_str(&quote(argument));
            }
            body.push('\n');
            body.push_str(script.body);
        }
    }
    Request::new(nonce, &body)
}

fn stdin(nonce: &Nonce, bytes: &[u8]) -> String {
    format!(
        "i=/run/quorate/stdin.{nonce}\n\
         [ -d /run/quorate ] || mkdir -m 700 /run/quorate || exit 125\n\
         umask 077\n\
         {decode} >\"$i\" || {{ rm -f \"$i\"; exit 125; }}\n\
         exec <\"$i\"\n\
         rm -f \"$i\"\n\
         umask 022\n",
        nonce = nonce.as_str(),
        decode = print_bytes(bytes),
    )
}

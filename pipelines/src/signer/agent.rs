//! Signatures by an ssh agent: two messages of its protocol (draft-ietf-sshm-ssh-agent, sections 3.2
//! and 3.6). Keys of type `ssh-ed25519` only: their signature is RFC 8032's over the bytes as they are,
//! and that of a key on a FIDO stick (`sk-…`) is not.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use douane_ledger::signing::VerifyingKey;

use crate::fault::RunFault;

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// What OpenSSH's agent reads and writes at most.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// A person may have to confirm.
const PATIENCE: Duration = Duration::from_secs(60);
const TYPE: &[u8] = b"ssh-ed25519";

/// A key that an agent holds.
pub struct Agent {
    socket: PathBuf,
    key: VerifyingKey,
}

impl Agent {
    /// The agent that `SSH_AUTH_SOCK` names holds this key.
    pub fn of_environment(key: VerifyingKey) -> Result<Self, RunFault> {
        match std::env::var_os("SSH_AUTH_SOCK") {
            Some(socket) => Self::at(socket.into(), key),
            None => Err(RunFault::Keys(
                "no ssh agent: SSH_AUTH_SOCK is not set\n  next: start one (`ssh-agent`) and add the \
                 key (`ssh-add`)"
                    .to_owned(),
            )),
        }
    }

    fn at(socket: PathBuf, key: VerifyingKey) -> Result<Self, RunFault> {
        let wanted = key.to_ssh_wire();
        let answer = ask(&socket, REQUEST_IDENTITIES, &[])?;
        let keys = identities(&answer).ok_or_else(|| out_of_form(&socket))?;
        match keys.contains(&wanted.as_slice()) {
            true => Ok(Self { socket, key }),
            false => Err(RunFault::Keys(format!(
                "the ssh agent does not hold {}\n  next: `ssh-add` adds a key; of type ed25519, and \
                 not on a FIDO stick",
                key.keyid()
            ))),
        }
    }

    pub fn key(&self) -> VerifyingKey {
        self.key
    }

    /// 64 bytes over the message, if the agent is willing.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, RunFault> {
        let mut body = Vec::with_capacity(message.len() + 128);
        put(&mut body, &self.key.to_ssh_wire());
        put(&mut body, message);
        body.extend_from_slice(&[0; 4]);
        let answer = ask(&self.socket, SIGN_REQUEST, &body)?;
        signature(&answer).map(<[u8]>::to_vec).ok_or_else(|| {
            RunFault::Keys(
                "the ssh agent refused to sign\n  next: see whether it is locked, or asked for a \
                 confirmation that was not given"
                    .to_owned(),
            )
        })
    }
}

fn out_of_form(socket: &Path) -> RunFault {
    RunFault::Keys(format!("{}: what answers there is no ssh agent", socket.display()))
}

/// One message, one answer.
fn ask(socket: &Path, kind: u8, body: &[u8]) -> Result<Vec<u8>, RunFault> {
    let away = |error: std::io::Error| RunFault::Unreachable {
        what: "the ssh agent".to_owned(),
        why: format!("{}: {}", socket.display(), error.kind()),
    };
    if body.len() + 1 > MESSAGE_BYTES_MAX {
        return Err(RunFault::Keys(format!(
            "{} bytes to sign are more than an ssh agent takes ({MESSAGE_BYTES_MAX})\n  next: sign \
             with a key file or a token",
            body.len()
        )));
    }
    let mut stream = UnixStream::connect(socket).map_err(away)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(away)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(away)?;
    let mut message = Vec::with_capacity(body.len() + 5);
    message.extend_from_slice(&u32::try_from(body.len() + 1).unwrap_or(u32::MAX).to_be_bytes());
    message.push(kind);
    message.extend_from_slice(body);
    stream.write_all(&message).map_err(away)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(away)?;
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > MESSAGE_BYTES_MAX {
        return Err(out_of_form(socket));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).map_err(away)?;
    Ok(answer)
}

/// RFC 4251, section 5: a string has its length before it.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn number(from: &mut &[u8]) -> Option<usize> {
    let (head, rest) = from.split_first_chunk::<4>()?;
    *from = rest;
    Some(u32::from_be_bytes(*head) as usize)
}

fn take<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(from)?;
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes)
}

/// The public keys of an answer, as they go over the wire.
fn identities(answer: &[u8]) -> Option<Vec<&[u8]>> {
    let (kind, mut rest) = answer.split_first()?;
    if *kind != IDENTITIES_ANSWER {
        return None;
    }
    let count = number(&mut rest)?;
    let mut keys = Vec::new();
    for _ in 0..count {
        keys.push(take(&mut rest)?);
        take(&mut rest)?; // its comment
    }
    Some(keys)
}

/// RFC 8709, section 6: the type's name and 64 bytes.
fn signature(answer: &[u8]) -> Option<&[u8]> {
    let (kind, mut rest) = answer.split_first()?;
    let mut blob = take(&mut rest).filter(|_| *kind == SIGN_RESPONSE)?;
    let named = take(&mut blob)? == TYPE;
    take(&mut blob).filter(|sig| named && sig.len() == 64 && blob.is_empty() && rest.is_empty())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    use douane_ledger::dsse::Envelope;

    use super::super::Signer;
    use super::*;

    /// OpenSSH's own agent, without a window to ask in.
    struct Real {
        child: Child,
        dir: tempfile::TempDir,
    }

    impl Real {
        fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let child = Command::new("ssh-agent")
                .args(["-D", "-a"])
                .arg(dir.path().join("agent"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("ssh-agent starts: it comes with OpenSSH");
            let since = Instant::now();
            while UnixStream::connect(dir.path().join("agent")).is_err() {
                assert!(since.elapsed() < Duration::from_secs(20), "the agent does not answer");
                std::thread::yield_now();
            }
            Self { child, dir }
        }

        fn socket(&self) -> PathBuf {
            self.dir.path().join("agent")
        }

        fn run(&self, program: &str, args: &[&str]) {
            let done = Command::new(program)
                .args(args)
                .current_dir(self.dir.path())
                .env("SSH_AUTH_SOCK", self.socket())
                .stdin(Stdio::null())
                .output()
                .expect("it comes with OpenSSH");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }

        fn make(&self, name: &str) -> VerifyingKey {
            self.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f", name]);
            let public = std::fs::read_to_string(self.dir.path().join(format!("{name}.pub")));
            VerifyingKey::parse(&public.unwrap()).unwrap()
        }
    }

    impl Drop for Real {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    #[test]
    fn an_agent_signs_what_a_verifier_takes() {
        let real = Real::start();
        let (held, other) = (real.make("held"), real.make("other"));
        real.run("ssh-add", &["-q", "held"]);
        // The private half is of no use to us, and gone.
        std::fs::remove_file(real.dir.path().join("held")).unwrap();
        let signer = Signer::Agent(Agent::at(real.socket(), held).unwrap());
        let mut envelope = Envelope::sign(b"{\"a\":1}", &[]);
        signer.sign(&mut envelope).unwrap();
        assert_eq!(envelope.verify(&[held]).unwrap().signers, [held]);
        // A proof is long.
        let mut long = Envelope::sign(&vec![b'x'; 200_000], &[]);
        signer.sign(&mut long).unwrap();
        assert!(long.verify(&[held]).is_ok());
        let too_long = vec![b'x'; 300_000];
        let fault = signer.sign(&mut Envelope::sign(&too_long, &[])).unwrap_err();
        assert!(fault.to_string().contains("more than"), "{fault}");
        // What it does not hold, it cannot be asked for.
        let fault = Agent::at(real.socket(), other).err().unwrap();
        assert!(fault.to_string().contains("does not hold"), "{fault}");
        assert_eq!(fault.exit_code(), 2);
        // Held no longer: it says no.
        real.run("ssh-add", &["-q", "-D"]);
        let fault = signer.sign(&mut envelope).unwrap_err();
        assert!(fault.to_string().contains("refused to sign"), "{fault}");
        // And nobody is no agent.
        let fault = Agent::at(real.dir.path().join("nobody"), held).err().unwrap();
        assert_eq!((fault.code(), fault.exit_code()), ("unreachable", 3));
    }

    #[test]
    fn an_answer_out_of_form_is_no_signature() {
        let mut blob = Vec::new();
        put(&mut blob, TYPE);
        put(&mut blob, &[7; 64]);
        let mut good = vec![SIGN_RESPONSE];
        put(&mut good, &blob);
        assert_eq!(signature(&good), Some(&[7; 64][..]));
        let mut sk = Vec::new();
        put(&mut sk, b"sk-ssh-ed25519@openssh.com");
        put(&mut sk, &[7; 64]);
        let mut other = vec![SIGN_RESPONSE];
        put(&mut other, &sk);
        let mut longer = good.clone();
        longer.push(0);
        for bad in [&[][..], &[5], &good[..good.len() - 1], &longer, &other, &[IDENTITIES_ANSWER]] {
            assert_eq!(signature(bad), None, "{bad:?}");
        }
        assert_eq!(identities(&[IDENTITIES_ANSWER, 0, 0, 0, 0]), Some(vec![]));
        for bad in [&[][..], &[IDENTITIES_ANSWER, 255, 255, 255, 255], &[5]] {
            assert_eq!(identities(bad), None);
        }
    }
}

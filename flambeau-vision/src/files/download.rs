//! Downloads over HTTP and HTTPS: bounded waits, resumed where they broke off, checked.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use super::Checksum;
use crate::{Error, ErrorKind, Result};

/// A file to fetch.
///
/// The bytes go to `to` with `.part` appended, which is checked and renamed in the end. A part
/// left by a broken attempt is gone on with when a checksum can prove the joined file, else
/// fetched again. Redirects are followed; proxies are taken from the usual variables
/// (`HTTPS_PROXY`, `NO_PROXY`, ...).
#[derive(Debug, Clone)]
pub struct Download {
    /// Where from: an `http://` or `https://` address.
    pub url: String,
    /// Where to; missing folders are created.
    pub to: PathBuf,
    /// What the whole file must sum to.
    pub checksum: Option<Checksum>,
    /// How long everything up to the answer's header may take in all: name look-up, connecting,
    /// redirects. A network that swallows packets costs this long. Default 5 seconds.
    pub answer_timeout: Duration,
    /// How long the data may pause. Default 10 seconds.
    pub stall_timeout: Duration,
    /// No more bytes than this are stored. Default 4 GiB.
    pub max_bytes: u64,
}

impl Download {
    /// A download with the default limits.
    pub fn new(url: impl Into<String>, to: impl Into<PathBuf>, checksum: Option<Checksum>) -> Self {
        Self {
            url: url.into(),
            to: to.into(),
            checksum,
            answer_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(10),
            max_bytes: 4 << 30,
        }
    }

    /// Fetches the file. `progress` is told the bytes on disk so far and, where the server says
    /// it, the size of the whole. An attempt that gets no byte leaves nothing behind.
    ///
    /// # Errors
    /// [`ErrorKind::Network`] when the server cannot be reached or the connection breaks (the
    /// part stays, for the next attempt), [`ErrorKind::Server`] when it refuses,
    /// [`ErrorKind::Checksum`] when the file is not the expected one (the part is deleted),
    /// [`ErrorKind::Io`] when the file cannot be written or another process is fetching it.
    pub fn run(&self, mut progress: impl FnMut(u64, Option<u64>)) -> Result<()> {
        let folder = self.to.parent().filter(|f| !f.as_os_str().is_empty());
        let made = folder.filter(|f| !f.exists());
        if let Some(folder) = folder {
            fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", &e))?;
        }
        let mut name = self.to.clone().into_os_string();
        name.push(".part");
        let part = PathBuf::from(name);
        let file = self.lock(&part)?;
        let done = self.fetch(&part, &file, &mut progress);
        if done.is_err() && file.metadata().is_ok_and(|m| m.len() == 0) {
            let _ = fs::remove_file(&part);
            // Fails where something else lies in it, as it should.
            let _ = made.map(fs::remove_dir);
        }
        done
    }

    fn fetch(
        &self,
        part: &Path,
        file: &File,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<()> {
        let disk = |e: std::io::Error| Error::io(part, "write", &e);
        let mut had = file.metadata().map_err(disk)?.len();
        if self.checksum.is_none() && had > 0 {
            had = 0;
            file.set_len(0).map_err(disk)?;
        }
        let mut response = self.ask(had)?;
        if had > 0 && !continues(&response, had) {
            file.set_len(0).map_err(disk)?;
            had = 0;
            if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                response = self.ask(0)?;
            }
        }
        if !response.status().is_success() {
            let remedy = "the address may have changed: fetch the file by hand";
            let problem = format!("the server answers {}", response.status());
            return Err(Error::new(ErrorKind::Server, &self.url, problem, remedy));
        }
        self.receive(response, file, part, had, progress)?;
        file.sync_all().map_err(disk)?;
        if let Some(checksum) = self.checksum
            && let Err(error) = checksum.verify(part)
        {
            let _ = fs::remove_file(part);
            return Err(error);
        }
        fs::rename(part, &self.to).map_err(disk)
    }

    /// The part, opened to append, for this process alone.
    fn lock(&self, part: &Path) -> Result<File> {
        let opened = OpenOptions::new().create(true).append(true).open(part);
        let file = opened.map_err(|e| Error::io(part, "write", &e))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::new(
                ErrorKind::Io,
                part.display(),
                "another process is fetching this file",
                "wait for it",
            )),
            // A file system without locks is no reason to give up.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
        }
    }

    /// Asks for the bytes from `start` on. The thread bounds the whole wait: the client's own
    /// limits hold for each step (look-up, connection, answer) of each redirect.
    fn ask(&self, start: u64) -> Result<Response<Body>> {
        let limit = Some(self.answer_timeout);
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_resolve(limit)
            .timeout_connect(limit)
            .timeout_send_request(limit)
            .timeout_recv_response(limit)
            .timeout_per_read(Some(self.stall_timeout))
            .build()
            .into();
        let mut request = agent.get(&self.url);
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let (answered, answer) = mpsc::channel();
        std::thread::spawn(move || {
            // Nobody receives it when the wait was given up.
            let _ = answered.send(request.call());
        });
        match answer.recv_timeout(self.answer_timeout) {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_) => {
                let seconds = self.answer_timeout.as_secs_f32();
                Err(self.unreachable(&format_args!("no answer within {seconds} s")))
            }
        }
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> Error {
        let problem = format!("no network, or the server is not reachable ({reason})");
        let remedy = "check the connection, or fetch the file by hand";
        Error::new(ErrorKind::Network, &self.url, problem, remedy)
    }

    fn receive(
        &self,
        mut response: Response<Body>,
        mut file: &File,
        part: &Path,
        had: u64,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<()> {
        let total = response
            .body()
            .content_length()
            .map(|rest| rest.saturating_add(had));
        let too_large = || {
            let _ = fs::remove_file(part);
            let problem = format!("more than {} bytes", self.max_bytes);
            Error::new(ErrorKind::Server, &self.url, problem, "check the address")
        };
        if total.is_some_and(|total| total > self.max_bytes) {
            return Err(too_large());
        }
        let mut body = response.body_mut().as_reader();
        let (mut done, mut buffer) = (had, vec![0; 1 << 16]);
        progress(done, total);
        loop {
            let broken = |reason: &dyn std::fmt::Display| {
                let of = total
                    .map(|total| format!(" of {total}"))
                    .unwrap_or_default();
                let problem = format!("the connection broke after {done}{of} bytes ({reason})");
                Error::new(ErrorKind::Network, &self.url, problem, "try again")
            };
            let count = match body.read(&mut buffer) {
                Ok(0) if total.is_some_and(|total| done < total) => return Err(broken(&"closed")),
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) => return Err(broken(&error)),
            };
            file.write_all(&buffer[..count])
                .map_err(|e| Error::io(part, "write", &e))?;
            done += count as u64;
            if done > self.max_bytes {
                return Err(too_large());
            }
            progress(done, total);
        }
    }
}

/// Whether the answer's bytes follow on the `had` ones that are there.
fn continues(response: &Response<Body>, had: u64) -> bool {
    let range = response
        .headers()
        .get(header::CONTENT_RANGE)
        .and_then(|v| v.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {had}-")))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use super::*;
    use crate::files::tests::{Folder, folder};

    const BODY: &[u8] = b"The quick brown fox jumps over the lazy dog";
    const SUM: Checksum =
        Checksum::Sha256("d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592");

    /// A server on this machine: `answer` gets each request's head and the socket. Returns its
    /// address and the heads so far. Its thread ends with the process.
    fn serve(
        answer: impl Fn(&str, &mut TcpStream) + Send + 'static,
    ) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let lines = BufReader::new(socket.try_clone().unwrap()).lines();
                let lines = lines.map_while(|line| line.ok().filter(|line| !line.is_empty()));
                let head = lines.collect::<Vec<_>>().join("\n").to_lowercase();
                seen.lock().unwrap().push(head.clone());
                answer(&head, &mut socket);
            }
        });
        (url, heads)
    }

    fn reply(socket: &mut TcpStream, status: &str, headers: &str, length: usize, body: &[u8]) {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
        );
        let _ = socket
            .write_all(head.as_bytes())
            .and_then(|()| socket.write_all(body));
    }

    /// A server of BODY that knows ranges.
    fn ranges(head: &str, socket: &mut TcpStream) {
        let start = head
            .lines()
            .find_map(|l| l.strip_prefix("range: bytes=")?.strip_suffix('-'));
        match start.map(|start| start.parse::<usize>().unwrap()) {
            None => reply(socket, "200 OK", "", BODY.len(), BODY),
            Some(n) if n >= BODY.len() => reply(socket, "416 Range Not Satisfiable", "", 0, b""),
            Some(n) => {
                let range = format!(
                    "Content-Range: bytes {n}-{}/{}\r\n",
                    BODY.len() - 1,
                    BODY.len()
                );
                reply(
                    socket,
                    "206 Partial Content",
                    &range,
                    BODY.len() - n,
                    &BODY[n..],
                );
            }
        }
    }

    fn setup(name: &str, url: &str, sum: Option<Checksum>) -> (Folder, Download, PathBuf) {
        let dir = folder(name);
        let download = Download::new(url, dir.join("new/file"), sum);
        let part = dir.join("new/file.part");
        fs::create_dir_all(dir.join("new")).unwrap();
        (dir, download, part)
    }

    #[test]
    fn a_whole_file_with_progress() {
        let (url, _) = serve(ranges);
        let (_dir, download, part) = setup("get", &url, Some(SUM));
        let mut steps = Vec::new();
        download
            .run(|done, total| steps.push((done, total)))
            .unwrap();
        assert_eq!(fs::read(&download.to).unwrap(), BODY);
        assert_eq!(steps.first(), Some(&(0, Some(43))));
        assert_eq!(steps.last(), Some(&(43, Some(43))));
        assert!(!part.exists());
    }

    #[test]
    fn a_part_is_gone_on_with() {
        let (url, heads) = serve(ranges);
        let (_dir, download, part) = setup("resume", &url, Some(SUM));
        fs::write(&part, &BODY[..10]).unwrap();
        let mut first = None;
        download
            .run(|done, total| first = first.or(Some((done, total))))
            .unwrap();
        assert_eq!(fs::read(&download.to).unwrap(), BODY);
        assert_eq!(first, Some((10, Some(43))));
        assert!(heads.lock().unwrap()[0].contains("range: bytes=10-"));

        // A part as long as the file or longer has no rest to ask for: fetched anew.
        fs::write(&part, [BODY, BODY].concat()).unwrap();
        download.run(|_, _| ()).unwrap();
        assert_eq!(fs::read(&download.to).unwrap(), BODY);

        // Without a checksum nothing would prove the joined file.
        fs::write(&part, "stale").unwrap();
        let unchecked = Download {
            checksum: None,
            ..download
        };
        unchecked.run(|_, _| ()).unwrap();
        assert_eq!(fs::read(&unchecked.to).unwrap(), BODY);
    }

    #[test]
    fn a_server_without_ranges_starts_over() {
        let (url, _) = serve(|_, socket| reply(socket, "200 OK", "", BODY.len(), BODY));
        let (_dir, download, part) = setup("no-ranges", &url, Some(SUM));
        fs::write(&part, &BODY[..10]).unwrap();
        download.run(|_, _| ()).unwrap();
        assert_eq!(fs::read(&download.to).unwrap(), BODY);
    }

    #[test]
    fn a_wrong_checksum_leaves_nothing() {
        let (url, _) = serve(|_, socket| reply(socket, "200 OK", "", 5, b"wrong"));
        let (_dir, download, part) = setup("wrong", &url, Some(SUM));
        let error = download.run(|_, _| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checksum);
        assert!(!part.exists() && !download.to.exists());
    }

    #[test]
    fn a_truncated_body_is_an_error_and_its_part_stays() {
        let (url, _) = serve(|_, socket| reply(socket, "200 OK", "", BODY.len(), &BODY[..20]));
        let (_dir, download, part) = setup("truncated", &url, Some(SUM));
        let error = download.run(|_, _| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
        assert!(
            error.to_string().contains("broke after 20 of 43 bytes"),
            "{error}"
        );
        assert_eq!(fs::read(&part).unwrap(), &BODY[..20]);
        assert!(!download.to.exists());
    }

    #[test]
    fn refusals_and_redirects() {
        let (url, _) = serve(|_, socket| reply(socket, "404 Not Found", "", 4, b"gone"));
        let (_dir, download, _) = setup("404", &url, None);
        let error = download.run(|_, _| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server);
        assert!(error.to_string().contains("404 Not Found"), "{error}");
        assert!(!download.to.exists());

        let (there, _) = serve(ranges);
        let location = format!("Location: {there}\r\n");
        let (url, _) = serve(move |_, socket| reply(socket, "302 Found", &location, 0, b""));
        let (_dir, download, _) = setup("redirect", &url, Some(SUM));
        download.run(|_, _| ()).unwrap();
        assert_eq!(fs::read(&download.to).unwrap(), BODY);
    }

    #[test]
    fn silence_ends_in_bounded_time() {
        // Accepts and never answers; then answers and stalls in the body.
        let (url, _) = serve(|_, socket| std::mem::forget(socket.try_clone()));
        let (_dir, mut download, _) = setup("silent", &url, Some(SUM));
        download.answer_timeout = Duration::from_millis(300);
        let start = Instant::now();
        let error = download.run(|_, _| ()).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(2));
        assert_eq!(error.kind(), ErrorKind::Network);
        assert!(error.to_string().contains("no network"), "{error}");

        let (url, _) = serve(|_, socket| {
            reply(socket, "200 OK", "", BODY.len(), &BODY[..20]);
            std::mem::forget(socket.try_clone());
        });
        download.url = url;
        download.stall_timeout = Duration::from_millis(300);
        let start = Instant::now();
        let error = download.run(|_, _| ()).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(2));
        assert!(
            error.to_string().contains("broke after 20 of 43 bytes"),
            "{error}"
        );
    }

    #[test]
    fn nobody_there_and_too_much() {
        let closed = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let (dir, mut download, part) = setup("closed", &format!("http://{closed}/"), None);
        assert_eq!(
            download.run(|_, _| ()).unwrap_err().kind(),
            ErrorKind::Network
        );
        assert!(!part.exists());
        download.to = dir.join("made/file");
        download.run(|_, _| ()).unwrap_err();
        assert!(!dir.join("made").exists());

        let (url, _) = serve(ranges);
        let (_dir, mut download, part) = setup("large", &url, None);
        download.max_bytes = 42;
        assert_eq!(
            download.run(|_, _| ()).unwrap_err().kind(),
            ErrorKind::Server
        );
        assert!(!part.exists() && !download.to.exists());
    }

    #[test]
    fn one_process_at_a_time() {
        let (_dir, download, part) = setup("lock", "http://127.0.0.1:9/", None);
        let other = File::create(&part).unwrap();
        other.lock().unwrap();
        let error = download.run(|_, _| ()).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
    }
}

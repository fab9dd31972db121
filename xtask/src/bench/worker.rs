//! A program that answers each line it reads with a line of JSON.

use super::Failure;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Such a program, running; it ends with its owner.
pub struct Worker {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    pub fn start(command: &mut Command) -> Result<Worker, Failure> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", command.get_program().display()))?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a program that is timed has no standard input or output".into());
        };
        Ok(Worker {
            child,
            questions,
            answers: BufReader::new(answers),
        })
    }

    /// Stops the program or lets it go on. Both sides have threads that wait actively for the next
    /// loop: left running they would take a core from the other side.
    fn signal(&self, signal: &str) -> Result<(), Failure> {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status()?;
        if !status.success() {
            return Err(format!("kill {signal} {pid} failed").into());
        }
        Ok(())
    }

    /// The answer to a question; the program runs only while it works on it.
    pub fn ask(&mut self, question: &str) -> Result<Value, Failure> {
        self.signal("-CONT")?;
        writeln!(self.questions, "{question}")?;
        self.questions.flush()?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            return Err(format!("no answer to {question}; see above").into());
        }
        self.signal("-STOP")?;
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

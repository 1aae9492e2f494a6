//! What a process was started with: its arguments as they are, its environment, its control groups.

use super::{ARGUMENT_BYTES_MAX, Pid, ProcessDir, ProcessFault, STAT_BYTES_MAX, split_arguments};

/// A variable of an environment: its name and its value.
pub type Variable = (Vec<u8>, Vec<u8>);

impl ProcessDir {
    /// Says whether it is in our pid and mount namespaces: in others (a container's) its numbers and
    /// paths mean something else.
    ///
    /// # Errors
    /// [`ProcessFault`]; others' processes are denied to anybody but root.
    pub fn shares_our_namespaces(&self) -> Result<bool, ProcessFault> {
        let own = Self::open(Pid::own())?;
        for namespace in ["ns/pid", "ns/mnt"] {
            if self.link(namespace)? != own.link(namespace)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads the arguments as they are: in the moment of an exec there are none.
    ///
    /// # Errors
    /// [`ProcessFault`].
    pub fn present_arguments(&self) -> Result<Vec<Vec<u8>>, ProcessFault> {
        Ok(split_arguments(&self.read("cmdline", ARGUMENT_BYTES_MAX)?))
    }

    /// Returns the variables, each with its value, that the process was started with, at most [`ARGUMENT_BYTES_MAX`] bytes of
    /// them, in their order. What has no `=` is none: a program may write over them.
    ///
    /// # Errors
    /// [`ProcessFault`]; others' processes are denied to anybody but root.
    pub fn environment(&self) -> Result<Vec<Variable>, ProcessFault> {
        let bytes = self.read("environ", ARGUMENT_BYTES_MAX)?;
        Ok(variables(&bytes))
    }

    /// Returns the control groups that the process is in, as the kernel tells them (cgroups(7)).
    ///
    /// # Errors
    /// [`ProcessFault`].
    pub fn control_groups(&self) -> Result<String, ProcessFault> {
        let bytes = self.read("cgroup", STAT_BYTES_MAX)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn variables(environment: &[u8]) -> Vec<Variable> {
    let pairs = environment.split(|byte| *byte == 0).filter_map(|pair| {
        let (name, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
        Some((name.to_vec(), value.get(1..)?.to_vec()))
    });
    pairs.filter(|(name, _)| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::process::Pid;

    #[test]
    fn variables_are_told_in_their_order() {
        let all = variables(b"A=1\0B=\0=x\0none\0C=a=b\0");
        let shown: Vec<String> = all
            .iter()
            .map(|(name, value)| format!("{}:{}", name.escape_ascii(), value.escape_ascii()))
            .collect();
        assert_eq!(shown, ["A:1", "B:", "C:a=b"]);
    }

    #[test]
    fn a_process_tells_what_it_was_started_in() {
        let mut command = Command::new("sleep");
        command.arg("60").env_clear().env("A_NAME", "a value").stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        let process = ProcessDir::open(Pid::new(child.id()).unwrap()).unwrap();
        let wanted = (b"A_NAME".to_vec(), b"a value".to_vec());
        assert_eq!(process.environment().unwrap(), [wanted]);
        assert!(process.control_groups().unwrap().contains('/'));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

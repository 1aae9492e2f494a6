//! Where in the kernel a process waits, for people who ask why it does not end.

use super::ProcessDir;

/// How many functions of a stack are named: the innermost ones say what is waited for.
const FUNCTIONS_MAX: usize = 4;

/// How much of a file is read, in bytes.
const PLACE_BYTES_MAX: u64 = 4096;

impl ProcessDir {
    /// Returns where it waits in the kernel, the innermost function first: of its stack (root's to
    /// read, where the kernel shows it), else of `wchan` (proc_pid_wchan(5)). `None` where neither
    /// tells, or it does not wait.
    pub fn waits_in_kernel(&self) -> Option<String> {
        let text = |name| {
            let bytes = self.read(name, PLACE_BYTES_MAX).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let stack = text("stack").map(|stack| functions(&stack)).filter(|all| !all.is_empty());
        stack.or_else(|| text("wchan").filter(|place| !place.is_empty() && place != "0"))
    }
}

/// Names the innermost functions of a stack: `[<0>] do_wait+0x5d/0x120`.
fn functions(stack: &str) -> String {
    let lines = stack.lines().filter_map(|line| line.split_once("] "));
    let names = lines.filter_map(|(_, place)| place.split('+').next());
    let named = names.filter(|name| !name.starts_with("0x"));
    named.take(FUNCTIONS_MAX).collect::<Vec<_>>().join(" < ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_functions_of_a_stack_are_named() {
        let stack = "[<0>] __refrigerator+0x5d/0x120\n[<0>] get_signal+0x8/0x10\n\
                     [<0>] a+0x1/0x2\n[<0>] b+0x1/0x2\n[<0>] c+0x1/0x2\n[<0>] 0xffffffffffffffff\n";
        assert_eq!(functions(stack), "__refrigerator < get_signal < a < b");
        assert_eq!(functions(""), "");
    }
}

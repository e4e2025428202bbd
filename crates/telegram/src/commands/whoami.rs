//! `/whoami`: a person's id, and what they may do.

use crate::commands::Given;

impl Given<'_> {
    pub(super) fn whoami(&self) -> String {
        let said = self.said;
        let place = match said.address.topic {
            Some(topic) => format!("chat `{}`, topic `{topic}`", said.address.chat),
            None => format!("chat `{}`", said.address.chat),
        };
        let rank = if self.may_rule() { "You are an admin." } else { "You are not an admin." };
        format!("{}, `{}`, in {place}, thread `{}`. {rank}", said.name, said.from, self.thread)
    }
}

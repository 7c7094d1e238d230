use std::collections::BTreeMap;

use bixi_types::transaction::Verified;
use proptest::prelude::*;

use crate::support::*;

const USERS: [&str; 4] = ["ann", "bob", "\u{4f60}\u{597d}", ""];

#[derive(Debug, Clone, Copy)]
enum Operation {
    Add(usize, u128),
    Save(usize, u128),
    Draw(usize, u128),
    Transfer(usize, usize, u128),
}

impl Operation {
    fn tx(self, chain: &Chain) -> Verified {
        let one = |signature, user: usize, amount| {
            chain.system_data(signature, &[Value::Text(USERS[user]), Value::Word(amount_word(amount))])
        };
        let data = match self {
            Self::Add(user, amount) => one("userAdd(string,uint256)", user, amount),
            Self::Save(user, amount) => one("userSave(string,uint256)", user, amount),
            Self::Draw(user, amount) => one("userDraw(string,uint256)", user, amount),
            Self::Transfer(from, to, amount) => chain.system_data(
                "userTransfer(string,string,uint256)",
                &[Value::Text(USERS[from]), Value::Text(USERS[to]), Value::Word(amount_word(amount))],
            ),
        };
        verified(alice(), call_tx(system(0x100c), data))
    }
}

/// The model counts in u128; on the chain its maximum stands for that of uint256.
fn amount_word(amount: u128) -> [u8; 32] {
    if amount > u128::MAX / 2 { [[0xff; 16], amount.to_be_bytes()].concat().try_into().unwrap() } else { uint(amount) }
}

/// FISCO BCOS's rules, written down a second time over plain integers.
#[derive(Default)]
struct Model(BTreeMap<&'static str, u128>);

impl Model {
    fn apply(&mut self, operation: Operation) -> i128 {
        match operation {
            Operation::Add(user, amount) => self.add(USERS[user], amount),
            Operation::Save(user, amount) => self.save(USERS[user], amount),
            Operation::Draw(user, amount) => self.draw(USERS[user], amount),
            Operation::Transfer(from, to, amount) => self.transfer(USERS[from], USERS[to], amount),
        }
    }

    fn add(&mut self, user: &'static str, amount: u128) -> i128 {
        if user.is_empty() {
            -51400
        } else if self.0.contains_key(user) {
            -51403
        } else {
            self.0.insert(user, amount);
            0
        }
    }

    fn save(&mut self, user: &'static str, amount: u128) -> i128 {
        if user.is_empty() {
            return -51400;
        }
        if amount == 0 {
            return -51401;
        }
        let balance = self.0.get(user).copied().unwrap_or(0);
        let Some(sum) = balance.checked_add(amount) else { return -51405 };
        self.0.insert(user, sum);
        0
    }

    fn draw(&mut self, user: &'static str, amount: u128) -> i128 {
        if user.is_empty() {
            return -51400;
        }
        if amount == 0 {
            return -51401;
        }
        let Some(balance) = self.0.get_mut(user) else { return -51402 };
        if *balance < amount {
            return -51404;
        }
        *balance -= amount;
        0
    }

    fn transfer(&mut self, from: &'static str, to: &'static str, amount: u128) -> i128 {
        if from.is_empty() || to.is_empty() {
            return -51400;
        }
        if amount == 0 {
            return -51401;
        }
        if from == to {
            return 0;
        }
        let Some(balance) = self.0.get(from).copied() else { return -51402 };
        if balance < amount {
            return -51404;
        }
        let Some(sum) = self.0.get(to).copied().unwrap_or(0).checked_add(amount) else { return -51405 };
        self.0.insert(from, balance - amount);
        self.0.insert(to, sum);
        0
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let user = || 0..USERS.len();
    // Small numbers meet each other; the largest one overflows when anything is added.
    let amount = || prop_oneof![8 => 0..20u128, 1 => Just(u128::MAX)];
    prop_oneof![
        (user(), amount()).prop_map(|(user, amount)| Operation::Add(user, amount)),
        (user(), amount()).prop_map(|(user, amount)| Operation::Save(user, amount)),
        (user(), amount()).prop_map(|(user, amount)| Operation::Draw(user, amount)),
        (user(), user(), amount()).prop_map(|(from, to, amount)| Operation::Transfer(from, to, amount)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agrees_with_the_model(blocks in prop::collection::vec(prop::collection::vec(operation(), 1..12), 1..4)) {
        let mut chain = Chain::demo();
        let mut model = Model::default();
        for operations in blocks {
            let block = operations.iter().map(|operation| operation.tx(&chain)).collect();
            let executed = chain.execute(block);
            for (operation, receipt) in operations.iter().zip(&executed.receipts) {
                prop_assert_eq!(receipt.status, 0);
                prop_assert_eq!(word(&receipt.output, 0), int(model.apply(*operation)), "{:?}", operation);
            }
        }
        for user in USERS.iter().filter(|user| !user.is_empty()) {
            let result = chain.call(system(0x100c), chain.system_data("userBalance(string)", &[Value::Text(user)]));
            let (code, balance) = match model.0.get(user) {
                Some(balance) => (uint(0), amount_word(*balance)),
                None => (int(-51402), uint(0)),
            };
            prop_assert_eq!((word(&result.output, 0), word(&result.output, 1)), (code, balance));
        }
    }
}

#[test]
fn an_empty_user_with_balance_zero_exists() {
    let mut chain = Chain::demo();
    chain.send_system(0x100c, "userAdd(string,uint256)", &[Value::Text("zero"), Value::Uint(0)]);
    let again = chain.send_system(0x100c, "userAdd(string,uint256)", &[Value::Text("zero"), Value::Uint(1)]);
    assert_eq!(word(&again.output, 0), int(-51403));
}

#[test]
fn gas_depends_on_the_data_alone() {
    let gas = |chain: &mut Chain, user: &str| {
        chain.send_system(0x100c, "userSave(string,uint256)", &[Value::Text(user), Value::Uint(1)]).gas_used
    };
    let (mut first, mut second) = (Chain::demo(), Chain::demo());
    second.send_system(0x100c, "userAdd(string,uint256)", &[Value::Text("other"), Value::Uint(1)]);
    assert_eq!(gas(&mut first, "ann"), gas(&mut second, "ann"));
    let mut tx =
        call_tx(system(0x100c), first.system_data("userSave(string,uint256)", &[Value::Text("x"), Value::Uint(1)]));
    (tx.version, tx.gas_limit) = (1, 3_000);
    let (receipt, writes) = first.run(alice(), tx);
    assert_eq!((receipt.status, receipt.gas_used.as_str()), (12, "3000"));
    assert!(writes.is_empty());
}

#[test]
fn malformed_call_data_is_refused() {
    let mut chain = Chain::demo();
    let whole = chain.system_data("userSave(string,uint256)", &[Value::Text("ann"), Value::Uint(1)]);
    for length in 0..whole.len() - 29 {
        let receipt = chain.send(system(0x100c), whole[..length].to_vec());
        assert_eq!(receipt.status, 15, "cut at {length}");
    }
    assert_eq!(chain.send(system(0x100c), whole).status, 0);
}

"""Passwords and those who guess them."""

from iqdata.server.accounts import Account, _hash
from iqdata.server.logins import LoginGuard, PasswordCheck


def test_an_address_is_banned_after_so_many_failures_and_let_in_again():
    guard = LoginGuard(most=3, window_s=60, ban_s=30)
    answers = [guard.failed("10.0.0.1", "a", now=moment) for moment in (0.0, 1.0, 2.0)]
    assert [banned for _delay, banned in answers] == [False, False, True]
    assert answers[1][0] > answers[0][0], "each wrong guess is answered later"
    assert guard.is_banned("10.0.0.1", now=31.9)
    assert not guard.is_banned("10.0.0.2", now=3.0)
    assert not guard.is_banned("10.0.0.1", now=32.1)


def test_failures_long_ago_do_not_count():
    guard = LoginGuard(most=3, window_s=10, ban_s=30)
    assert not any(guard.failed("x", f"u{moment}", now=moment * 11.0)[1] for moment in range(10))


def test_an_account_is_never_locked_by_guesses_from_elsewhere():
    guard = LoginGuard(most=3)
    for number in range(50):
        guard.failed(f"10.0.{number}.1", "alpha", now=float(number))
    assert not guard.is_banned("10.9.9.9", now=50.0)


def test_passwords_of_the_command_line_and_of_the_database():
    kept = Account(name="alpha", hash=_hash("right"))
    check = PasswordCheck({"beta": "Zk3-plain"})
    beta = Account(name="beta")
    assert check.quick(beta, "beta", "Zk3-plain", now=0) is True
    assert check.quick(beta, "beta", "other", now=0) is False
    assert check.quick(Account(name="beta", enabled=False), "beta", "Zk3-plain", now=0) is False
    assert check.quick(kept, "alpha", "right", now=0) is None, "only the slow check knows"
    assert check.slow(kept, "alpha", "wrong", now=0) is False
    assert check.slow(kept, "alpha", "right", now=0) is True
    assert check.quick(kept, "alpha", "right", now=1) is True, "known for a while"
    assert check.quick(kept, "alpha", "wrong", now=1) is None
    assert check.quick(Account(name="alpha", hash=_hash("new")), "alpha", "right", now=1) is None, (
        "changed since"
    )
    assert check.quick(Account(name="alpha", hash=kept.hash, enabled=False), "alpha", "right", now=1) is None
    assert check.slow(Account(name="alpha", hash=kept.hash, enabled=False), "alpha", "right", now=1) is False
    assert check.slow(None, "nobody", "x", now=0) is False
    assert "Zk3-plain" not in repr(vars(check))

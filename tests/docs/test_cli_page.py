"""The page of all flags is the one that the options give."""

from docs.generate_cli import PAGE, cli_page


def test_the_page_of_flags_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == cli_page(), "run `make docs`"

"""The boot menu: byte for byte, and that nothing in it that is data can become a command."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.boot.menu import again_script, menu_script
from provisioner.domain.mac import Mac
from provisioner.domain.menu import Menu, Offer

MAC = Mac.parse("52:54:00:12:34:56")
IDENTITY = "mac=52-54-00-12-34-56&uuid=${uuid}&serial=${serial:uristring}"
OFFERS = (
    Offer("worker", "A worker", in_memory=False),
    Offer("rescue", "A live Flatcar in memory", in_memory=True),
    Offer("old", "", in_memory=False, fault="role.yaml: unknown key"),
)
TEXT = r"(?:[ -~](?<![$\"\\#|&{}]))*"
LINES = (
    r"#!ipxe|:(menu|refused|assigned|failed)|sleep 10|exit 1|goto menu",
    rf"menu -- Provisioner: {TEXT}|item --gap -- {TEXT}|item -- [a-z0-9_-]+ {TEXT}|echo Provisioner: {TEXT}",
    r"choose --default _assigned --timeout [0-9]+ choice \|\| goto assigned",
    r"iseq \$\{choice\} _assigned && goto assigned \|\|",
    r"set username console|clear password \|\||login \|\| goto menu",
    r"chain http://(\$\{username:uristring\}:\$\{password:uristring\}@)?@@SERVER@@/menu/@@MENU_PASS@@/\$\{choice\}"
    rf"\?{re.escape(IDENTITY)} \|\| goto refused",
    rf"chain http://@@SERVER@@/boot\.ipxe\?{re.escape(IDENTITY)}(&menu=past \|\| goto failed| \|\| exit 1)",
)
LINE = re.compile("|".join(LINES))
"""Every line that a menu may have."""


def test_the_menu_whole() -> None:
    menu = Menu(("worker",), 10, "$argon2")
    assert menu_script("node-1", MAC, "disk: active: boots its own disk", menu, OFFERS) == (
        "#!ipxe\n"
        ":menu\n"
        "menu -- Provisioner: node-1\n"
        "item --gap -- Without a choice, after 10 seconds:\n"
        "item -- _assigned disk: active: boots its own disk\n"
        "item --gap -- From memory; nothing is installed:\n"
        "item -- rescue rescue: A live Flatcar in memory\n"
        "item --gap -- Installs: what is on the disk is replaced, by the rules of the role:\n"
        "item -- worker worker: A worker\n"
        "item --gap -- old: cannot be chosen: role.yaml: unknown key\n"
        "choose --default _assigned --timeout 10000 choice || goto assigned\n"
        "iseq ${choice} _assigned && goto assigned ||\n"
        "set username console\n"
        "clear password ||\n"
        "login || goto menu\n"
        "chain http://${username:uristring}:${password:uristring}@@@SERVER@@/menu/@@MENU_PASS@@/${choice}?"
        f"{IDENTITY} || goto refused\n"
        ":refused\n"
        "echo Provisioner: the choice was not taken; the timeline of the machine says why\n"
        "sleep 10\n"
        "goto menu\n"
        ":assigned\n"
        f"chain http://@@SERVER@@/boot.ipxe?{IDENTITY}&menu=past || goto failed\n"
        ":failed\n"
        "echo Provisioner: the boot script did not come; the firmware goes on in 10 seconds\n"
        "sleep 10\n"
        "exit 1\n"
    )


def test_without_a_password_none_is_asked_for() -> None:
    script = menu_script("node-1", MAC, "disk", Menu(("worker",), 10, ""), OFFERS)
    assert "login" not in script
    assert f"chain http://@@SERVER@@/menu/@@MENU_PASS@@/${{choice}}?{IDENTITY} || goto refused\n" in script


HOSTILE = (
    "${net0/mac}",
    "a\nreboot",
    "x || shell",
    "; shell",
    "--default x",
    "-- --gap",
    "#",
    "'\"\\",
    "\r:menu\r",
)
hostile = st.text() | st.sampled_from((*HOSTILE, "a" * 900))


@settings(max_examples=100)
@given(hostile, hostile, hostile, hostile)
def test_no_text_can_become_a_command_or_another_choice(node: str, assigned: str, text: str, fault: str) -> None:
    offers = (
        Offer("worker", text, in_memory=False),
        Offer("rescue", text, in_memory=True),
        Offer("old", "", in_memory=False, fault=fault or "-"),
    )
    script = menu_script(node, MAC, assigned, Menu(("worker",), 5, "$"), offers)
    for line in (script + again_script(text, MAC)).split("\n")[:-1]:
        assert LINE.fullmatch(line), line
    labels = [line.split()[2] for line in script.splitlines() if line.startswith("item -- ")]
    assert labels == ["_assigned", "rescue", "worker"]

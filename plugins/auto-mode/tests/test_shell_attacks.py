"""Ways to make a command look like a plain read; none of them may pass."""

from __future__ import annotations

import pytest

from plugway_auto_mode._commands import Rules, review, review_powershell
from plugway_auto_mode._finding import Place

CWD = "/home/dana/shop"
PLACE = Place(cwd=CWD, home="/home/dana", platform="linux", roots=(CWD,))


def answer(command):
    return review(command, PLACE, Rules.build()).answer


BASH_EVALUATES = r"""
printf -v 'a[$(id)]' x
printf "$x"
test -v 'a[$(id)]'
[ -v 'a[$(id)]' ]
[ $x ]
[ $x -eq 1 ]
[[ $x -eq 1 ]]
[[ a -eq 1 ]]
x='a[$(id)]'; [[ $x -eq 1 ]]
x=-v; y=$(cat f); [ "$x" "$y" ]
test 'b[$(rm x)]' -eq 1
wait -p 'a[$(id)]'
local 'a[$(id)]=1'
unset 'a[$(id)]'
let 'a[$(id)]'
declare 'a[$(id)]=1'
a[$(id)]=1 ls
1=ls
echo $((x))
echo $[x]
echo ${x@P}
echo ${!x}
echo ${x:=y}
echo ${x:$(id)}
echo ${x#`rm x`}
echo ${x^^$(rm x)}
echo "${x:-`rm x`}"
echo "${x:-$(rm x)}"
echo ${x[$(rm x)]}
echo $x[a]
a=(`rm x`)
case `rm x` in a) ;; esac
case a in $(rm x)) ;; esac
for i in $(rm x); do :; done
PS4='$(rm x)'; set -x; ls
""".strip().split("\n")

OPTIONS_IN_VALUES = r"""
for x in -o; do sort $x y; done
for x in "-o y"; do sort $x; done
for f in --pre=x; do rg foo $f; done
for f in '--pre=x foo'; do rg $f; done
for o in -f/etc/passwd; do grep $o x; done
x='a --pre=./e'; rg foo$x .
y='1 BEGIN{system("id")}'; awk -v x=$y '{print}'
find . -name $x
find . -name *
ls | xargs sort
find . | xargs rg foo
find . | xargs sed -n p
sort $(git ls-files)
grep -rf /etc/passwd .
grep -efoo /etc/passwd
grep -ne foo /etc/passwd
sort -uo out a.txt
sort -k1 -oout a
uniq a.txt out.txt
xxd f out
sed p f -i
sed p f -e 'w out'
sed -n 'r /etc/passwd' f
rg foo --pre x
fd -tf -x rm
git branch -v foo
git branch --list -D foo
git tag -l -d v1
git log --output x
git config --get http.extraheader
git config --get --add user.name x
""".strip().split("\n")

PROGRAMS_AND_FILES = r"""
hash -p ./evil ls; ls
env -u PATH ls
alias ls='rm -rf'; ls
for PATH in ./bin; do ls; done
IFS=/; ls
./ls
/tmp/ls
pytest --help
pytest -v
make version
yarn --version
echo code | python -v
awk 'BEGIN{ARGV[1]="/etc/passwd";ARGC=2}{print}'
jq -n 'include "x"; y'
for f in a; do f=/etc/passwd; cat $f; done
for f in a; do cat "/$f"; done
for f in a; do cat $f/../../../etc/passwd; done
cat /dev/fd/../../etc/passwd
cat //etc/passwd
cat {/etc/passwd,x}
git diff ../../x y
git -C .. status
echo ~/.ssh/*
cat <<< "$GITHUB_TOKEN"
grep "$GITHUB_TOKEN" x
basename $GITHUB_TOKEN
cat $(git ls-files .env)
cat $(find . -name .env)
find . -name '.env*' -exec cat {} +
git ls-files | grep .env | xargs cat
git log -p -- .env
cat $(find . -name x -exec echo /etc/passwd \;)
find . -exec cat {}/../../../etc/passwd \;
ls | xargs -I{} cat ../{}
echo /etc/passwd | xargs cat
git log --format=%s | xargs cat
cd src && cat ../../x
cd / && git status
""".strip().split("\n")

TWO_READINGS = (
    "l\\\ns",
    "ls\u00a0-la; r\\\nm x",
    "ls # foo\nrm x",
    "cat <<EOF\nx\nEOF \nrm x\nEOF\n",
    "cat <<'EOF'\nEOF\nrm x\nEOF\n",
    "cat <<-EOF\n\tEOF\nrm x\nEOF",
    "cat <<A <<B\nA\nrm x\nB\n",
    "cat <<EOF\n`rm x`\nEOF",
    "cat <<EOF | sh\nrm x\nEOF",
    "ls *(e:'rm x':)",
    "ls =(rm x)",
    "echo ${(e)x}",
    "if [[ -f x ]] { rm x }",
    "for f (a b) rm $f",
    'echo "a\\"; rm x; \\"" ; rm x',
    "ls > /dev/null x; rm x",
    "ls {fd}>x",
)


@pytest.mark.parametrize(
    "command", [*BASH_EVALUATES, *OPTIONS_IN_VALUES, *PROGRAMS_AND_FILES, *TWO_READINGS]
)
def test_what_only_looks_like_a_read_does_not_pass(command):
    assert answer(command) != "harmless"


@pytest.mark.parametrize(
    "command",
    [
        'for f in src/*.py; do wc -l "$f"; done',
        'for d in src tests; do ls "$d" | wc -l; done',
        'for f in a.py b.py; do echo "== $f"; head -5 "$f"; done',
        "[ $? -eq 0 ] && echo ok",
        '[ -n "$CI" ] && ls',
        '[[ "$(uname)" == "Darwin" ]]',
        "printf '%s\\n' --- done",
        'echo "${NAME:-nobody}" "${FILE%.py}"',
        "grep -rne foo src",
        "grep -A3 -ie foo src/a.py",
        "git config --get remote.origin.url",
        "git diff main...feature -- src/a.py",
        "find . -name '*.json' -exec grep -l foo {} +",
        "cat $(git ls-files '*.py')",
        "node -v; go version; python3 -V",
        "diff <(sort a) <(sort b)",
        "cat <<'EOF'\nhello $(world)\nEOF",
    ],
)
def test_what_is_close_to_an_attack_and_only_reads_passes(command):
    finding = review(command, PLACE, Rules.build())
    assert finding.answer == "harmless", finding.reason


@pytest.mark.parametrize(
    "command",
    [
        "Get-Process -ComputerName other",
        "hostname x",
        "Get-ChildItem Env:",
        "Get-ChildItem | % { rm $_ }",
        "Get-Date\nRemove-Item x",
        "Get-ChildItem src\nRemove-Item x",
        "Get-ChildItem src\rRemove-Item x",
        "Select-String KEY .env",
        "Select-String -Path id_rsa -Pattern x",
        "Write-Output (rm x)",
        "Get-ChildItem //evil/share",
    ],
)
def test_powershell_that_only_looks_like_a_read_does_not_pass(command):
    assert review_powershell(command, PLACE, Rules.build()).answer != "harmless"

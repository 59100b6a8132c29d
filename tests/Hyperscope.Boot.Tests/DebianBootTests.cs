using System.Globalization;
using System.Security.Cryptography;

namespace Hyperscope.Boot.Tests;

/// <summary>Debian's own kernel and busybox, from the first instruction to power-off.</summary>
public sealed class DebianBootTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public async Task Debian_boots_works_and_switches_itself_off(int vcpus)
    {
        int megabytes = DebianGuest.IsFull ? 64 : 2, forks = DebianGuest.IsFull ? 1000 : 40;
        string script = $"""
            echo "processors=$(nproc)"
            echo "sum=$(head -c {megabytes << 20} /dev/zero | sha256sum)"
            head -c 1000000 /bin/busybox >/tmp/plain
            gzip -c /tmp/plain >/tmp/packed
            gunzip -c /tmp/packed | cmp - /tmp/plain && echo "gzip=same"
            i=0; n=0
            while [ $i -lt {forks} ]; do i=$((i+1)); n=$((n+$(echo 1 | cat))); done
            echo "forks=$n"
            j=0
            while [ $j -lt {vcpus} ]; do (k=0; while [ $k -lt 2000 ]; do k=$((k+1)); done; echo $k-$j >>/tmp/done; echo "job $j wrote: $?") & j=$((j+1)); done
            wait
            echo "wait=$? left: $(tr '\n' ' ' </tmp/done)"
            echo "jobs=$(wc -l </tmp/done)"
            """;
        await using DebianGuest guest = DebianGuest.Create(vcpus, script);
        guest.Vm.Start();
        await guest.WaitForPowerOff();
        string console = guest.Serial.Text;
        string sum = Convert.ToHexStringLower(SHA256.HashData(new byte[megabytes << 20]));
        Assert.Contains(DebianInitramfs.ReadyMarker, console, StringComparison.Ordinal);
        Assert.Contains($"processors={vcpus}\r", console, StringComparison.Ordinal);
        Assert.Contains($"sum={sum}", console, StringComparison.Ordinal);
        Assert.Contains("gzip=same", console, StringComparison.Ordinal);
        Assert.Contains(string.Create(CultureInfo.InvariantCulture, $"forks={forks}\r"), console, StringComparison.Ordinal);
        Assert.True(console.Contains(string.Create(CultureInfo.InvariantCulture, $"jobs={vcpus}\r"), StringComparison.Ordinal), console);
    }

    [Fact]
    public async Task Parallel_jobs_on_several_vcpus_all_leave_their_line()
    {
        const int Rounds = 10;
        await using DebianGuest guest = DebianGuest.Create(4, $$"""
            r=0
            while [ $r -lt {{Rounds}} ]; do
                rm -f /tmp/done
                j=0
                while [ $j -lt 4 ]; do (k=0; while [ $k -lt 500 ]; do k=$((k+1)); done; echo $k-$j >>/tmp/done) & j=$((j+1)); done
                wait
                echo "round $r status $?: $(wc -l </tmp/done) lines: $(cat /tmp/done | tr '\n' ' ')"
                r=$((r+1))
            done
            """);
        guest.Vm.Start();
        await guest.WaitForPowerOff();
        for (int round = 0; round < Rounds; round++)
            Assert.True(guest.Serial.Text.Contains($"round {round} status 0: 4 lines", StringComparison.Ordinal), guest.Serial.Text);
    }

    [Fact]
    public async Task The_shell_on_the_console_answers_and_its_end_switches_off()
    {
        await using DebianGuest guest = DebianGuest.Create(vcpus: 1);
        guest.Vm.Start();
        await guest.WaitFor(DebianInitramfs.ReadyMarker);
        await guest.WaitFor("/ # ");
        guest.Type("echo answer=$((6*7))\r");
        await guest.WaitFor("answer=42");
        guest.Type("exit\r");
        await guest.WaitForPowerOff();
    }

    [Fact]
    public async Task Two_runs_on_the_clock_of_instructions_retire_the_same_number()
    {
        var runs = new List<(ulong Instructions, string Console)>();
        for (int run = 0; run < 2; run++)
        {
            await using DebianGuest guest = DebianGuest.Create(vcpus: 1, "sleep 5; date", new InstructionClock());
            guest.Vm.Start();
            await guest.WaitForPowerOff();
            runs.Add((guest.Vm.InstructionsRetired, guest.Serial.Text));
        }

        Assert.Equal(runs[0].Console, runs[1].Console);
        Assert.Equal(runs[0].Instructions, runs[1].Instructions);
    }
}

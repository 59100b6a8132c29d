using System.Diagnostics;
using Hyperscope.Guests;
using Hyperscope.Machine.Control;
using Iced.Intel;

namespace Hyperscope.Cli.Running;

/// <summary>The demonstration with the small guest that is bundled.</summary>
internal sealed class SmallDemo(CliConsole console)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <summary>Runs it.</summary>
    public async Task<int> RunAsync(bool isGuarded, CancellationToken cancellation)
    {
        DirectoryInfo folder = ChildVm.CreateFolder();
        Endpoint tool = ChildVm.Socket(folder, "tool"), control = ChildVm.Socket(folder, "control");
        using KvmiListener listener = KvmiListener.Listen(tool);
        using ChildVm child = ChildVm.Start(folder, "--image", "builtin:demo", "--paused", "--kvmi", $"{tool}", "--control", $"{control}");
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(Patience);
        await using IntrospectedVm vm = await listener.AcceptAsync(limit.Token).ConfigureAwait(false);
        console.Out.WriteLine($"VM in process {vm.PeerProcessId}, guard in process {Environment.ProcessId}, KVMI between them");

        var guard = new SmallGuard(vm, console);
        Task watching = isGuarded ? guard.WatchAsync(limit.Token) : Task.CompletedTask;
        using IDisposable? armed = isGuarded ? await guard.ArmAsync(limit.Token).ConfigureAwait(false) : null;
        using (ControlClient owner = child.ConnectWhenReady(() => ControlClient.Connect(control)))
            owner.Send(new ControlRequest { Command = "resume" });
        while (await child.Serial.ReadLineAsync(limit.Token).ConfigureAwait(false) is { } line)
            guard.Say(line);
        await child.Ended.WaitAsync(limit.Token).ConfigureAwait(false);
        await watching.WaitAsync(limit.Token).ConfigureAwait(false);
        int worked = AttacksThatWorked(child);
        guard.Summarize();
        console.Out.WriteLine(isGuarded
            ? $"{3 - worked} of 3 attacks stopped; the guest stood still for {guard.Waited.TotalMilliseconds:F1} ms in all"
            : $"{worked} of 3 attacks worked");
        return isGuarded && worked != 0 ? ExitCode.Failed : ExitCode.Done;
    }

    // The guest's exit status is (attacks << 1) | 1; vm run says it in words.
    private static int AttacksThatWorked(ChildVm child)
    {
        const string Marker = "exited with status ";
        string talk = child.Talk;
        int at = talk.IndexOf(Marker, StringComparison.Ordinal);
        if (at < 0)
            throw new CliException($"the VM ended in an unexpected way: {talk.Trim()}");
        string digits = new([.. talk[(at + Marker.Length)..].TakeWhile(char.IsAsciiDigit)]);
        int attacks = int.Parse(digits, CultureInfo.InvariantCulture) >> 1;
        return attacks <= 3 ? attacks : throw new CliException($"the guest met an exception: {talk.Trim()}");
    }

    /// <summary>The policy of the demo: each region has the rights it needs, and whatever goes beyond is skipped.</summary>
    private sealed class SmallGuard(IntrospectedVm vm, CliConsole console)
    {
        private readonly Dictionary<string, int> _events = [];
        private readonly Lock _gate = new();

        /// <summary>How long vCPUs waited for verdicts.</summary>
        public TimeSpan Waited { get; private set; }

        /// <summary>Restricts the regions, and asks for a pause before the guest's first instruction, in which the event is enabled.</summary>
        public async Task<IDisposable> ArmAsync(CancellationToken cancellation)
        {
            int pages = 0;
            foreach (DemoRegion region in DemoGuest.Regions)
            {
                await vm.SetPageAccessAsync(region.Start.Frame, region.Pages, region.Needed, cancellation).ConfigureAwait(false);
                pages += region.Pages;
            }

            Say($"guard: {pages} pages restricted to what the guest needs");
            IDisposable handler = vm.OnAsync<PauseVcpuEvent>(async e =>
            {
                await vm.EnableAsync(EventId.PageFault, cancellation).ConfigureAwait(false);
                e.Continue();
            });
            await vm.PauseAsync(cancellation).ConfigureAwait(false);
            return handler;
        }

        public async Task WatchAsync(CancellationToken cancellation)
        {
            await foreach (VmEvent<PageFaultEvent> e in vm.Events<PageFaultEvent>(cancellation).ConfigureAwait(false))
            {
                long start = Stopwatch.GetTimestamp();
                await HandleAsync(e, cancellation).ConfigureAwait(false);
                Waited += Stopwatch.GetElapsedTime(start);
            }
        }

        public void Say(string line)
        {
            lock (_gate)
                console.Out.WriteLine(line);
        }

        public void Summarize() => console.WriteTable(
            ["region", "rights", "pages", "first page", "violations", "verdict"],
            DemoGuest.Regions.Select(region =>
            {
                int count = _events.GetValueOrDefault(region.Name);
                return (string[])[region.Name, region.Needed.ToText(), $"{region.Pages}", $"{region.Start}", $"{count}", count == 0 ? "" : "skipped"];
            }));

        private async Task HandleAsync(VmEvent<PageFaultEvent> e, CancellationToken cancellation)
        {
            KvmRegs registers = e.Registers;
            DemoRegion? region = DemoGuest.Regions.FirstOrDefault(region => e.Gpa.Frame.Value - region.Start.Frame.Value < (ulong)region.Pages);
            string name = region?.Name ?? "other";
            _events[name] = _events.GetValueOrDefault(name) + 1;
            byte[] bytes = new byte[15];
            int read = await e.Vcpu.TryReadVirtualAsync(new Gva(registers.Rip), bytes, cancellation).ConfigureAwait(false);
            Instruction instruction = Decode(bytes.AsSpan(0, read), registers.Rip, out string text);

            string verdict;
            if (e.Access == PageAccess.Execute)
            {
                // The call has happened: give the guest back to its caller.
                byte[] stack = new byte[8];
                await e.Vcpu.ReadVirtualAsync(new Gva(registers.Rsp), stack, cancellation).ConfigureAwait(false);
                registers.Rip = BitConverter.ToUInt64(stack);
                registers.Rsp += 8;
                verdict = "skipped: returned to the caller";
            }
            else
            {
                registers.Rip += (ulong)instruction.Length;
                verdict = "skipped: the instruction has no effect";
            }

            await e.Vcpu.SetRegistersAsync(registers, cancellation).ConfigureAwait(false);
            e.Retry();
            string kind = e.Access switch { PageAccess.Write => "write to", PageAccess.Read => "read of", _ => "execution of" };
            Say($"guard: {kind} {name}: gva {e.Gva} gpa {e.Gpa} access {e.Access.ToText()}");
            Say($"guard:   rip 0x{e.Registers.Rip:x}  {text}");
            Say($"guard:   {verdict}");
        }

        private static Instruction Decode(ReadOnlySpan<byte> bytes, ulong rip, out string text)
        {
            Decoder decoder = Decoder.Create(64, new ByteArrayCodeReader(bytes.ToArray()), rip);
            Instruction instruction = decoder.Decode();
            var output = new StringOutput();
            new NasmFormatter(new FormatterOptions { HexPrefix = "0x", HexSuffix = "" }).Format(instruction, output);
            text = output.ToStringAndReset();
            return instruction;
        }
    }
}

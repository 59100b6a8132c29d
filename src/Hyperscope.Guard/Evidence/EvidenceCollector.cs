using System.Collections.Concurrent;

namespace Hyperscope.Guard;

/// <summary>Collects what there is to know about a violation, while its vCPU waits.</summary>
internal sealed class EvidenceCollector(GuardOptions options)
{
    private const int MaxFrames = 16, MaxPlaces = 4096;

    private readonly ConcurrentDictionary<(string Rule, ulong Rip), int> _seen = [];

    public async ValueTask<Violation> CollectAsync(GuardRule rule, GuardEvent e, Judgement judgement, CancellationToken cancellation)
    {
        Violation violation = Describe(rule, e, judgement);
        if (_seen.Count > MaxPlaces)
            _seen.Clear();
        if (e.Vcpu is null || _seen.AddOrUpdate((rule.Name, e.Registers.Rip), 1, static (_, count) => count + 1) > options.FullEvidence)
            return violation;
        try
        {
            GuestReader seen = Disassembly.ReaderOf(e.Guest, e.System);
            SymbolMap symbols = e.Guest.OpenSymbols();
            (byte[] Bytes, string Text)? instruction = await Disassembly.AtAsync(seen, e.Registers.Rip, cancellation).ConfigureAwait(false);
            return violation with
            {
                Instruction = new CodePlace(
                    Hex(e.Registers.Rip), await symbols.DescribeAsync(new Gva(e.Registers.Rip), cancellation).ConfigureAwait(false),
                    instruction is { } found ? Convert.ToHexStringLower(found.Bytes) : null, instruction?.Text),
                Process = await ProcessAsync(e, cancellation).ConfigureAwait(false),
                Stack = await StackAsync(e, symbols, cancellation).ConfigureAwait(false),
                Registers = RegistersOf(e),
            };
        }
        catch (Exception missing) when (missing is LinuxGuestException or KvmiException)
        {
            // The guest's structures do not hold together: that too is evidence.
            return violation.WithNote(missing.Message);
        }
    }

    private static string Hex(ulong value) => $"0x{value:x}";

    private static string? NullIfEmpty(string text) => text.Length == 0 ? null : text;

    private Violation Describe(GuardRule rule, GuardEvent e, Judgement judgement)
    {
        bool isMemory = e.Subject == GuardSubject.Memory;
        string? target = null;
        if (isMemory && e.Range is { } range)
        {
            // The guarded address, not the one that was used: whoever writes to text does it through another mapping.
            Gva place = range.Gva + (e.Gpa.Value > range.Gpa.Value ? e.Gpa.Value - range.Gpa.Value : 0);
            ulong offset = place.Value - range.Gva.Value;
            target = e.Guest.Layout.Image.Contains(place)
                ? e.Guest.Symbols.Describe(place)
                : rule.Describe(range, offset) ?? (offset == 0 ? range.Label : $"{range.Label}+0x{offset:x}");
        }

        string verb = e.Access switch { PageAccess.Read => "read of", PageAccess.Execute => "execution of", _ => "write to" };
        return new Violation
        {
            Time = options.Time.GetUtcNow(),
            Vm = options.VmName,
            Vcpu = e.Vcpu?.Index.Value,
            Rule = rule.Name,
            Kind = rule.Settings.Kind.Name,
            Verdict = judgement.Verdict,
            What = e.Subject switch
            {
                GuardSubject.Memory => target?.Contains(e.Range!.Label, StringComparison.Ordinal) ?? false ? $"{verb} {target}" : $"{verb} {e.Range?.Label}: {target}",
                GuardSubject.View => judgement.Note,
                _ => $"{e.Register} from {Hex(e.OldValue)} to {Hex(e.NewValue)}",
            },
            Note = e.Subject == GuardSubject.View ? null : NullIfEmpty(judgement.Note),
            Target = target,
            Gva = isMemory && e.Gva != Gva.Unknown ? Hex(e.Gva.Value) : null,
            Gpa = isMemory ? Hex(e.Gpa.Value) : null,
            Access = isMemory ? e.Access switch { PageAccess.Read => "r", PageAccess.Write => "w", _ => "x" } : null,
            Size = isMemory && e.Size != 0 ? e.Size : null,
            Before = NullIfEmpty(Convert.ToHexStringLower(e.Before)),
            After = NullIfEmpty(Convert.ToHexStringLower(e.After)),
            Register = e.Register.Length == 0 ? null : new RegisterChange(e.Register, Hex(e.OldValue), Hex(e.NewValue)),
        };
    }

    private static async ValueTask<ViolationProcess?> ProcessAsync(GuardEvent e, CancellationToken cancellation)
    {
        if (!e.Guest.HasBtf)
            return null;
        Gva task = await e.Guest.CurrentTaskAsync(e.KernelGs, cancellation).ConfigureAwait(false);
        LinuxProcess process = await e.Guest.ProcessAtAsync(task, cancellation).ConfigureAwait(false);
        return new ViolationProcess(
            process.Pid, process.Tgid, process.Comm, process.Credentials.Uid, process.ParentPid, Hex(task.Value), e.IsUserMode);
    }

    private static async ValueTask<CallStack?> StackAsync(GuardEvent e, SymbolMap symbols, CancellationToken cancellation)
    {
        if (e.IsUserMode)
            return null;
        GuestLinux.CallStack stack = await e.Guest.StackAsync(e.Registers, e.System.Cs.Selector, symbols, cancellation).ConfigureAwait(false);
        StackFrame[] callers = [.. stack.Frames.Skip(1).Take(MaxFrames)]; // the first one is the instruction itself
        int guesses = callers.Count(static frame => frame.Source == FrameSource.Scanned);
        string method = guesses == 0 ? "orc" : guesses == callers.Length ? "scan" : "orc+scan";
        return new CallStack(
            method, [.. callers.Select(static frame => new CodePlace(
                Hex(frame.Ip.Value), frame.Symbol, IsGuess: frame.Source == FrameSource.Scanned ? true : null))], stack.End);
    }

    private static Dictionary<string, string> RegistersOf(GuardEvent e)
    {
        var named = new Dictionary<string, string>(KvmRegs.Count + 3);
        KvmRegs general = e.Registers;
        ReadOnlySpan<ulong> values = KvmRegs.AsSpan(ref general);
        for (int i = 0; i < values.Length; i++)
            named[KvmRegs.Names[i]] = Hex(values[i]);
        named["cr0"] = Hex(e.System.Cr0);
        named["cr3"] = Hex(e.System.Cr3);
        named["cr4"] = Hex(e.System.Cr4);
        return named;
    }
}

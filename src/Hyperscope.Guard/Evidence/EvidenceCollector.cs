using System.Collections.Concurrent;

namespace Hyperscope.Guard;

/// <summary>Collects what there is to know about a violation, while its vCPU waits.</summary>
internal sealed class EvidenceCollector(GuardOptions options)
{
    private const int MaxFrames = 16, MaxPlaces = 4096, StackBytes = 2048;

    private readonly ConcurrentDictionary<(string Rule, ulong Rip), int> _seen = [];
    private ModuleIndex _modules = new([]);

    public async ValueTask<Violation> CollectAsync(GuardRule rule, GuardEvent e, Judgement judgement, CancellationToken cancellation)
    {
        Violation violation = Describe(rule, e, judgement);
        if (_seen.Count > MaxPlaces)
            _seen.Clear();
        if (e.Vcpu is null || _seen.AddOrUpdate((rule.Name, e.Registers.Rip), 1, static (_, count) => count + 1) > options.FullEvidence)
            return violation;
        try
        {
            GuestReader seen = Disassembly.ReaderOf(e.Guest, e.System), kernel = e.Guest.OpenMemory();
            (byte[] Bytes, string Text)? instruction = await Disassembly.AtAsync(seen, e.Registers.Rip, cancellation).ConfigureAwait(false);
            return violation with
            {
                Instruction = new CodePlace(
                    Hex(e.Registers.Rip), await NameAsync(e, e.Registers.Rip, cancellation).ConfigureAwait(false),
                    instruction is { } found ? Convert.ToHexStringLower(found.Bytes) : null, instruction?.Text),
                Process = await ProcessAsync(e, cancellation).ConfigureAwait(false),
                Stack = await ScanAsync(e, seen, kernel, cancellation).ConfigureAwait(false),
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

    // The kernel's unwind tables (ORC) are not read; what follows a call is taken for a return address.
    private async ValueTask<CallStack?> ScanAsync(GuardEvent e, GuestReader seen, GuestReader kernel, CancellationToken cancellation)
    {
        if (e.IsUserMode)
            return null;
        byte[] stack = new byte[StackBytes], before = new byte[7];
        int read = await seen.TryReadAsync(new Gva(e.Registers.Rsp), stack, cancellation).ConfigureAwait(false);
        var frames = new List<CodePlace>();
        for (int at = 0; at + 8 <= read && frames.Count < MaxFrames; at += 8)
        {
            ulong value = BinaryPrimitives.ReadUInt64LittleEndian(stack.AsSpan(at));
            var place = new Gva(value);
            if (!e.Guest.Layout.Text.Contains(place) && !e.Guest.Layout.Modules.Contains(place))
                continue;
            if (await kernel.TryReadAsync(new Gva(value - 7), before, cancellation).ConfigureAwait(false) == before.Length && Disassembly.FollowsCall(before))
                frames.Add(new CodePlace(Hex(value), await NameAsync(e, value, cancellation).ConfigureAwait(false)));
        }

        return new CallStack("scan", frames);
    }

    private async ValueTask<string> NameAsync(GuardEvent e, ulong address, CancellationToken cancellation)
    {
        var place = new Gva(address);
        if (e.Guest.Layout.Image.Contains(place))
            return e.Guest.Symbols.Describe(place);
        if (!e.Guest.HasBtf || !e.Guest.Layout.Modules.Contains(place))
            return Hex(address);
        if (_modules.Find(place) is { } known)
            return known;
        _modules = new ModuleIndex(await e.Guest.ModulesAsync(cancellation).ConfigureAwait(false));
        return _modules.Find(place) ?? Hex(address);
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

    private sealed class ModuleIndex(IReadOnlyList<LinuxModule> modules)
    {
        public string? Find(Gva place) => modules.FirstOrDefault(module => module.Contains(place)) is { } module
            ? $"[{module.Name}]+0x{place.Value - module.Base.Value:x}"
            : null;
    }
}

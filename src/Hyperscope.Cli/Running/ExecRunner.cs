using System.Text.Json;
using Hyperscope.X64;

namespace Hyperscope.Cli.Running;

/// <summary>Runs the cases of <c>exec</c> one after the other on one machine. The format is in docs/exec.md.</summary>
internal sealed class ExecRunner : IDisposable
{
    private const ulong CodeAddress = 0x1000, StackTop = 0x8000;
    private const ulong DefaultCount = 1_000_000, MaxCount = 1_000_000_000;

    // Elements of repeated string instructions do not count as instructions, yet they have to end some time.
    private const ulong StepsBeyondCount = 16_000_000;
    private const int MaxShown = 1 << 20;

    private static readonly string[] VectorNames =
    [
        "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "", "#TS", "#NP", "#SS", "#GP", "#PF", "", "#MF", "#AC", "#MC", "#XM",
    ];

    private readonly ExecMachine _machine;
    private readonly ExecRegisters _registers = new();
    private readonly List<(ulong Address, int Length)> _shown = [];
    private readonly MemoryStream _buffer = new();

    public ExecRunner(ulong memoryBytes) => _machine = new ExecMachine(memoryBytes);

    public void Dispose()
    {
        _machine.Dispose();
        _buffer.Dispose();
    }

    /// <summary>Runs one case given as JSON text; the answer is one line of JSON.</summary>
    /// <param name="json">The case.</param>
    /// <param name="isOk">False: the case makes no sense, and the answer says why.</param>
    public string Run(ReadOnlyMemory<char> json, out bool isOk)
    {
        string? name = null;
        string? error;
        try
        {
            using var document = JsonDocument.Parse(json);
            return Run(document.RootElement, out isOk);
        }
        catch (JsonException wrong)
        {
            error = $"not JSON: {wrong.Message}";
        }

        isOk = false;
        return Refusal(name, error);
    }

    /// <inheritdoc cref="Run(ReadOnlyMemory{char}, out bool)"/>
    public string Run(JsonElement test, out bool isOk)
    {
        isOk = false;
        string? name = test.ValueKind == JsonValueKind.Object && test.TryGetProperty("name", out JsonElement named) && named.ValueKind == JsonValueKind.String
            ? named.GetString() : null;
        try
        {
            string result = Execute(test, name);
            isOk = true;
            return result;
        }
        catch (CaseException wrong)
        {
            return Refusal(name, wrong.Message);
        }
    }

    private string Execute(JsonElement test, string? name)
    {
        if (test.ValueKind != JsonValueKind.Object)
            throw new CaseException("a case is a JSON object");
        int mode = 64, ring = 0;
        ulong at = CodeAddress, count = DefaultCount;
        ulong? stopAt = null;
        JsonElement code = default, registers = default, memory = default, show = default;
        foreach (JsonProperty property in test.EnumerateObject())
        {
            switch (property.Name)
            {
                case "name": break;
                case "mode": mode = (int)Number(property.Value, "mode"); break;
                case "ring": ring = (int)Number(property.Value, "ring"); break;
                case "at": at = Number(property.Value, "at"); break;
                case "count": count = Number(property.Value, "count"); break;
                case "stopAt": stopAt = Number(property.Value, "stopAt"); break;
                case "code": code = property.Value; break;
                case "registers": registers = property.Value; break;
                case "memory": memory = property.Value; break;
                case "show": show = property.Value; break;
                default: throw new CaseException($"there is no member \"{property.Name}\"");
            }
        }

        if (mode is not (16 or 32 or 64))
            throw new CaseException($"mode {mode} is not 16, 32 or 64");
        if (ring is not (0 or 3) || (mode == 16 && ring != 0))
            throw new CaseException($"ring {ring} is not 0{(mode == 16 ? " as real mode has it" : " or 3")}");
        if (count is 0 or > MaxCount)
            throw new CaseException($"count {count} is not from 1 to {MaxCount}");
        if (code.ValueKind != JsonValueKind.String)
            throw new CaseException("code is missing: hex digits such as \"4801d8f4\"");

        _machine.Reset((CpuMode)(mode / 8), ring);
        Write(at, Hex(code, "code"), "code");
        foreach (JsonElement region in Items(memory, "memory"))
            Write(Number(Member(region, "address", "memory"), "memory.address"), Hex(Member(region, "bytes", "memory"), "memory.bytes"), "memory");
        _shown.Clear();
        foreach (JsonElement region in Items(show, "show"))
        {
            ulong length = Number(Member(region, "size", "show"), "show.size");
            if (length is 0 or > MaxShown)
                throw new CaseException($"show.size {length} is not from 1 to {MaxShown}");
            _shown.Add((Number(Member(region, "address", "show"), "show.address"), (int)length));
        }

        SetRegisters(registers, at);
        return Go(name, count, stopAt);
    }

    private void SetRegisters(JsonElement registers, ulong at)
    {
        SoftwareVcpu vcpu = _machine.Vcpu;
        _registers.Load(vcpu);
        Check(_registers.Set("rip", $"{at:x}"));
        Check(_registers.Set("rsp", $"{StackTop:x}"));
        Check(_registers.Set("rflags", "2"));
        Check(_registers.Set("ftw", "0"));
        Check(_registers.Set("fcw", "37f"));
        if (registers.ValueKind == JsonValueKind.Object)
        {
            foreach (JsonProperty register in registers.EnumerateObject())
            {
                if (register.Value.ValueKind == JsonValueKind.Number)
                    Check(_registers.Set(register.Name, $"{Number(register.Value, register.Name):x}"));
                else if (register.Value.ValueKind == JsonValueKind.String && register.Value.GetString() is { } text && text.StartsWith("0x", StringComparison.Ordinal))
                    Check(_registers.Set(register.Name, text.AsSpan(2)));
                else
                    throw new CaseException($"{register.Name} is neither a number nor \"0x\" and hex digits");
            }
        }
        else if (registers.ValueKind != JsonValueKind.Undefined)
        {
            throw new CaseException("registers is not an object of names and values");
        }

        if (!_registers.Store(vcpu))
            throw new CaseException($"mxcsr {_registers.Get("mxcsr")} has reserved bits");
    }

    private string Go(string? name, ulong count, ulong? stopAt)
    {
        SoftwareVcpu vcpu = _machine.Vcpu;
        ulong first = vcpu.InstructionsRetired, steps = 0;
        string? stop = null;
        RaisedException exception = default;
        while (stop is null)
        {
            StepOutcome outcome = vcpu.Step(out exception);
            stop = outcome switch { StepOutcome.Fault => "fault", StepOutcome.Halted => "halt", _ => null };
            if (stop is null && vcpu.InstructionsRetired - first >= count)
                stop = "count";
            if (stop is null && ++steps > count + StepsBeyondCount)
                stop = "steps";
            if (stop is null && stopAt is { } address)
            {
                vcpu.GetRegisters(out KvmRegs now);
                stop = now.Rip == address ? "address" : null;
            }
        }

        _registers.Load(vcpu);
        _buffer.SetLength(0);
        using (var json = new Utf8JsonWriter(_buffer))
        {
            json.WriteStartObject();
            if (name is not null)
                json.WriteString("name", name);
            json.WriteString("stop", stop);
            json.WriteNumber("instructions", vcpu.InstructionsRetired - first);
            if (stop == "fault")
                WriteFault(json, exception);
            json.WriteStartObject("registers");
            foreach (string register in _registers.Names)
                json.WriteString(register, _registers.Get(register));
            json.WriteEndObject();
            if (_shown.Count > 0)
                WriteMemory(json);
            json.WriteEndObject();
        }

        return System.Text.Encoding.UTF8.GetString(_buffer.GetBuffer().AsSpan(0, (int)_buffer.Length));
    }

    private static void WriteFault(Utf8JsonWriter json, RaisedException exception)
    {
        json.WriteStartObject("fault");
        json.WriteNumber("vector", exception.Vector);
        if (exception.Vector < VectorNames.Length && VectorNames[exception.Vector].Length > 0)
            json.WriteString("name", VectorNames[exception.Vector]);
        if (exception.ErrorCode is { } code)
            json.WriteString("errorCode", $"0x{code:x}");
        if (exception.Address is { } address)
            json.WriteString("address", $"0x{address:x}");
        json.WriteEndObject();
    }

    private void WriteMemory(Utf8JsonWriter json)
    {
        json.WriteStartArray("memory");
        foreach ((ulong address, int length) in _shown)
        {
            byte[] bytes = new byte[length];
            if (!_machine.Read(address, bytes))
                throw new CaseException($"show: {length} bytes at 0x{address:x} are not all below the end of memory, 0x{_machine.MemoryBytes:x}");
            json.WriteStartObject();
            json.WriteString("address", $"0x{address:x}");
            json.WriteString("bytes", Convert.ToHexStringLower(bytes));
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private void Write(ulong address, byte[] bytes, string what)
    {
        if (!_machine.Write(address, bytes))
            throw new CaseException($"{what}: {bytes.Length} bytes at 0x{address:x} are not all below the end of memory, 0x{_machine.MemoryBytes:x}");
    }

    private static string Refusal(string? name, string error)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (name is not null)
                json.WriteString("name", name);
            json.WriteString("error", error);
            json.WriteEndObject();
        }

        return System.Text.Encoding.UTF8.GetString(buffer.ToArray());
    }

    private static void Check(string? error)
    {
        if (error is not null)
            throw new CaseException(error);
    }

    private static JsonElement Member(JsonElement element, string name, string of) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out JsonElement value)
            ? value : throw new CaseException($"{of} has an item without {name}");

    private static JsonElement.ArrayEnumerator Items(JsonElement element, string name) => element.ValueKind switch
    {
        JsonValueKind.Undefined => default, // enumerates nothing
        JsonValueKind.Array => element.EnumerateArray(),
        _ => throw new CaseException($"{name} is not an array"),
    };

    private static ulong Number(JsonElement element, string name)
    {
        if (element.ValueKind == JsonValueKind.Number && element.TryGetUInt64(out ulong number))
            return number;
        if (element.ValueKind == JsonValueKind.String && Values.TryParseNumber(element.GetString()!, out number))
            return number;
        throw new CaseException($"{name} is not a number such as 16 or \"0x1000\"");
    }

    private static byte[] Hex(JsonElement element, string name)
    {
        if (element.ValueKind != JsonValueKind.String)
            throw new CaseException($"{name} is not hex digits such as \"90c3\"");
        string digits = element.GetString()!.Replace(" ", "", StringComparison.Ordinal);
        if (digits.Length == 0 || digits.Length % 2 != 0 || !digits.All(char.IsAsciiHexDigit))
            throw new CaseException($"{name} is not hex digits such as \"90c3\"");
        return Convert.FromHexString(digits);
    }

    private sealed class CaseException(string message) : Exception(message);
}

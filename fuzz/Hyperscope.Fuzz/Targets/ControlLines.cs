using System.Globalization;
using System.Text;
using System.Text.Json;
using Hyperscope.Introspection;
using Hyperscope.Machine;
using Hyperscope.Machine.Control;

namespace Hyperscope.Fuzz.Targets;

/// <summary>Lines on a VM's control socket: each is answered with an object, or is too long and ends the connection.</summary>
public static class ControlLines
{
    private const int MaxLine = 64 << 10;

    private static readonly string[] Commands =
    [
        "status", "resume", "suspend", "stop", "hook", "unhook", "pre-unhook", "allow-command", "allow-event", "add-memory", "remove-memory", "", "Status", "quit",
    ];

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private static readonly Endpoint Endpoint = Endpoint.Parse($"unix:{Path.Combine(Path.GetTempPath(), $"hyperscope-fuzz-{Environment.ProcessId}.sock")}");
    private static readonly byte[] Received = new byte[64 * 1024];
    private static VirtualMachine? _vm;
    private static Introspector? _introspector;
    private static ControlServer? _server;
    private static long _done, _refused, _cutOff, _machines;

    public static string Summary() => $"{_done} lines done, {_refused} refused, {_cutOff} connections cut off, {_machines} VMs";

    public static void Run(ReadOnlySpan<byte> input)
    {
        EnsureServer();
        int longest = 0, lines = 0, start = 0;
        for (int at = 0; at < input.Length; at++)
        {
            longest = Math.Max(longest, at + 1 - start);
            if (input[at] != (byte)'\n')
                continue;
            lines++;
            start = at + 1;
        }

        // Its answer, the last of all, shows that everything before was read.
        byte[] stream = [.. input, (byte)'\n', .. """{"command":"resume"}"""u8, (byte)'\n'];
        using StreamSocket socket = StreamSocket.Connect(Endpoint);
        var sending = Task.Run(() => socket.Send(stream));
        int answers = ReadAnswers(socket, lines + 2);
        if (!sending.Wait(Limit))
            throw new TimeoutException("the server reads no more, and holds the connection");
        if (answers == lines + 2)
            return;
        _cutOff++;
        if (longest <= MaxLine)
            throw new InvalidOperationException($"{answers} answers to {lines + 2} lines, the longest of {longest} bytes");
    }

    public static byte[] Generate(Random random, out int units)
    {
        using var stream = new MemoryStream();
        units = random.Next(1, 40);
        for (int line = 0; line < units; line++)
        {
            stream.Write(Line(random));
            stream.WriteByte((byte)'\n');
        }

        return stream.ToArray();
    }

    private static byte[] Line(Random random)
    {
        switch (random.Next(200))
        {
            case 0:
                byte[] noise = new byte[random.Next(300)];
                random.NextBytes(noise);
                return noise;
            case 1:
                return [.. Enumerable.Repeat((byte)(random.Next(2) == 0 ? '[' : ' '), random.Next(MaxLine + 100))];
            default:
                break;
        }

        string command = Commands[random.Next(50) == 0 ? random.Next(Commands.Length) : random.Next(4) switch { 0 => 0, 1 => 1, _ => random.Next(4, 11) }];
        var text = new StringBuilder("{");
        if (random.Next(50) != 0)
            text.Append(CultureInfo.InvariantCulture, $"\"command\":{(random.Next(50) == 0 ? Number(random) : $"\"{command}\"")},");
        string[] fields = command switch
        {
            "hook" => ["endpoint"],
            "allow-command" or "allow-event" => ["id", "allow"],
            "add-memory" or "remove-memory" => ["gpa", "bytes"],
            _ => [],
        };
        if (random.Next(8) == 0)
            fields = ["endpoint", "padding", "descriptor", "id", "allow", "gpa", "bytes", "more"];
        foreach (string field in fields)
        {
            string value = random.Next(8) == 0 ? Number(random) : field switch
            {
                "endpoint" => Text(random),
                "id" => Integer(random.Next(-1, 30)),
                "allow" => Integer(random.Next(2)),
                "gpa" => Integer(0x1_0000_0000 + ((long)random.Next(4) << 20)),
                "bytes" => Integer(random.Next(1, 400) << 12),
                _ => Number(random),
            };
            if (random.Next(20) != 0)
                text.Append(CultureInfo.InvariantCulture, $"\"{field}\":{value},");
        }

        byte[] line = Encoding.UTF8.GetBytes(text.ToString().TrimEnd(',') + "}");
        if (random.Next(30) == 0)
            line[random.Next(line.Length)] = (byte)random.Next(256);
        return line;
    }

    private static string Text(Random random) => random.Next(10) switch
    {
        0 => "null",
        1 => "\"\"",
        2 => "\"vsock:3:70000\"",
        3 => "\"tcp:127.0.0.1:1\"",
        4 => "\"tcp:example.org:80\"",
        5 => $"\"unix:{new string('x', random.Next(200))}\"",
        6 => $"\"{Endpoint}\"",
        7 => "\"unix:\\u0000\"",
        8 => "17",
        _ => "\"unix:/nonexistent/socket\"",
    };

    private static string Integer(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static string Number(Random random) => random.Next(12) switch
    {
        0 => "-1",
        1 => "4294967296",
        2 => "18446744073709551615",
        3 => "18446744073709551616",
        4 => "1e3",
        5 => "\"5\"",
        6 => "null",
        7 => "4096",
        8 => (4096UL << random.Next(52)).ToString(CultureInfo.InvariantCulture),
        9 => (0x1_0000_0000 + ((ulong)random.Next(16) << 20)).ToString(CultureInfo.InvariantCulture),
        10 => ((ulong)random.NextInt64() & ~4095UL).ToString(CultureInfo.InvariantCulture),
        _ => random.Next(-2, 30).ToString(CultureInfo.InvariantCulture),
    };

    private static int ReadAnswers(StreamSocket socket, int expected)
    {
        using var line = new MemoryStream();
        int answers = 0;
        while (answers < expected)
        {
            if (socket.WaitReadable((int)Limit.TotalMilliseconds) != WaitOutcome.Ready)
                throw new TimeoutException($"no answer after {answers} of {expected}");
            int count = socket.Receive(Received);
            if (count <= 0)
                break;
            foreach (byte value in Received.AsSpan(0, count))
            {
                if (value != (byte)'\n')
                {
                    line.WriteByte(value);
                    continue;
                }

                using JsonDocument answer = JsonDocument.Parse(line.ToArray());
                _ = answer.RootElement.GetProperty("error").GetInt32() == 0 ? _done++ : _refused++;
                line.SetLength(0);
                answers++;
            }
        }

        return answers;
    }

    // A VM that was stopped makes place for another.
    private static void EnsureServer()
    {
        if (_vm is { Completion.IsCompleted: false })
            return;
        if (_server is not null && _introspector is not null && _vm is not null)
        {
            _server.DisposeAsync().AsTask().GetAwaiter().GetResult();
            _introspector.Dispose();
            _vm.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }

        _vm = new VirtualMachine(new VirtualMachineOptions { MemoryBytes = 16 << 20, VcpuCount = 1 });
        _vm.Load(FlatImageLoader.Load(new byte[] { 0xF4, 0xEB, 0xFD }, new Gpa(0x8000), new Gpa(0x8000), EntryMode.Real, _vm.MemoryMap));
        _vm.Start();
        _introspector = new Introspector(_vm);
        _server = new ControlServer(_vm, _introspector, Endpoint);
        _machines++;
    }
}

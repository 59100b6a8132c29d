using System.Diagnostics;
using Hyperscope.Fuzz.Targets;

namespace Hyperscope.Fuzz;

/// <summary>What was fed.</summary>
public readonly record struct FuzzRun(long Inputs, long Units);

/// <summary>Eats one input; throws only if there is a bug.</summary>
public delegate void FuzzBody(ReadOnlySpan<byte> input);

/// <summary>Makes one input and says how many units it is.</summary>
public delegate byte[] FuzzGenerator(Random random, out int units);

/// <summary>One reader of foreign bytes, and inputs that get past its first check.</summary>
public sealed record FuzzTarget(string Name, string Unit, FuzzBody Run, FuzzGenerator Generate, Func<string> Summary)
{
    public static IReadOnlyList<FuzzTarget> All { get; } =
    [
        new("kvmi-server", "messages", KvmiServer.Run, KvmiStreams.ToServer, KvmiServer.Summary),
        new("kvmi-client", "messages", KvmiClient.Run, KvmiStreams.ToClient, KvmiClient.Summary),
        new("images", "images", GuestImages.Run, GuestImages.Generate, GuestImages.Summary),
        new("control", "lines", ControlLines.Run, ControlLines.Generate, ControlLines.Summary),
        new("guest-code", "programs", GuestCode.Run, GuestCode.Generate, GuestCode.Summary),
    ];

    /// <summary>Feeds generated inputs. An exception says which input of which seed it was.</summary>
    public FuzzRun Feed(long units, int seed, TimeSpan? limit = null)
    {
        var random = new Random(seed);
        long inputs = 0, done = 0;
        var clock = Stopwatch.StartNew();
        while (done < units && !(clock.Elapsed > limit))
        {
            byte[] input = Generate(random, out int size);
            try
            {
                Run(input);
            }
            catch (Exception bug)
            {
                string start = Convert.ToHexString(input.AsSpan(0, Math.Min(input.Length, 4096)));
                throw new InvalidOperationException($"{Name}, seed {seed}, input {inputs} of {input.Length} bytes: {start}", bug);
            }

            inputs++;
            done += size;
        }

        return new FuzzRun(inputs, done);
    }
}
